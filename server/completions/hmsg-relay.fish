# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of hmsg-relay for fish.

function __hmsg_relay_verb
    set -l words (commandline -opc)
    test (count $words) -eq 2; and test $words[2] = $argv[1]
end

# Whether the words so far are those of one of these commands, as "key show".
function __hmsg_relay_at
    set -l words (commandline -opc)
    test (count $words) -ge 2; and contains -- "$words[2..3]" $argv
    or begin
        test (count $words) -ge 2; and contains -- $words[2] $argv
    end
end

complete -c hmsg-relay -f
complete -c hmsg-relay -n __fish_use_subcommand -l help -d 'Show help'
complete -c hmsg-relay -n __fish_use_subcommand -l version -d 'Show the version'

complete -c hmsg-relay -n __fish_use_subcommand -a init -d 'Make a configuration and a key'
complete -c hmsg-relay -n __fish_use_subcommand -a serve -d Run
complete -c hmsg-relay -n __fish_use_subcommand -a config -d 'Check the configuration'
complete -c hmsg-relay -n __fish_use_subcommand -a key -d 'Show, copy, restore or change the key'
complete -c hmsg-relay -n __fish_use_subcommand -a store -d 'Copy, check, encrypt anew or move what is stored'
complete -c hmsg-relay -n __fish_use_subcommand -a client -d 'Who is registered'
complete -c hmsg-relay -n __fish_use_subcommand -a invite -d 'Invitations for new users'

complete -c hmsg-relay -n '__hmsg_relay_verb config' -a check
complete -c hmsg-relay -n '__hmsg_relay_verb key' -a 'show backup restore rotate'
complete -c hmsg-relay -n '__hmsg_relay_verb store' -a 'backup check rekey migrate'
complete -c hmsg-relay -n '__hmsg_relay_verb client' -a 'list show block unblock delete'
complete -c hmsg-relay -n '__hmsg_relay_verb invite' -a 'create list revoke'

complete -c hmsg-relay -n '__hmsg_relay_at serve config key store client invite' -l config -r -F -d 'The configuration'
complete -c hmsg-relay -n '__hmsg_relay_at client "key show" "store check" "invite create" "invite list"' -l json -d 'Print JSON'
complete -c hmsg-relay -n '__hmsg_relay_at init' -l host -x -a '(__fish_print_hostnames)' -d 'The part behind the @'
complete -c hmsg-relay -n '__hmsg_relay_at init' -l listen -x -d 'Where it listens'
complete -c hmsg-relay -n '__hmsg_relay_at init' -l key -x -a tpm2 -d 'The key in the TPM, or in a PKCS#11 token: a URI'
complete -c hmsg-relay -n '__hmsg_relay_at init' -l pin-fd -x -d 'Descriptor with its PIN'
complete -c hmsg-relay -n '__hmsg_relay_at init' -l tcti -x -d 'How the TPM is reached'
complete -c hmsg-relay -n '__hmsg_relay_at "store migrate"' -a 'postgres sqlite'
complete -c hmsg-relay -n '__hmsg_relay_at init "store backup"' -a '(__fish_complete_directories)'
complete -c hmsg-relay -n '__hmsg_relay_at "key backup"' -l to -r -F -d 'A public key'
complete -c hmsg-relay -n '__hmsg_relay_at "key rotate"' -l now -d 'Change to the next key at once'
complete -c hmsg-relay -n '__hmsg_relay_at "invite create"' -l uses -x -d 'How many it lets in'
complete -c hmsg-relay -n '__hmsg_relay_at "invite create"' -l days -x -d 'When it ends'
