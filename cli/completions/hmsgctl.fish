# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of hmsgctl for fish.

function __hmsgctl_contacts
    hmsgctl contact list --no-ask --json 2>/dev/null |
        string replace -rf '^ *"(?:name|address)": "([A-Za-z0-9@.:+_-]+)",?$' '$1'
end

function __hmsgctl_at
    set -l words (commandline -opc)
    test (count $words) -ge 2; and contains -- $words[2] $argv
end

function __hmsgctl_verb
    set -l words (commandline -opc)
    test (count $words) -eq 2; and test $words[2] = $argv[1]
end

complete -c hmsgctl -f
complete -c hmsgctl -s h -l help -d 'Show help'
complete -c hmsgctl -l version -d 'Show the version'
complete -c hmsgctl -l json -d 'Print facts as JSON'
complete -c hmsgctl -l no-ask -d 'Never ask anything'

complete -c hmsgctl -n __fish_use_subcommand -a identity -d 'Make, show, export or delete your keys'
complete -c hmsgctl -n __fish_use_subcommand -a register -d 'Enter your keys at a relay'
complete -c hmsgctl -n __fish_use_subcommand -a mailbox -d 'Say how long messages for you wait at the relay'
complete -c hmsgctl -n __fish_use_subcommand -a contact -d 'Add, list, show, verify, block, allow or forget'
complete -c hmsgctl -n __fish_use_subcommand -a encrypt -d 'Encrypt a file or standard input'
complete -c hmsgctl -n __fish_use_subcommand -a decrypt -d 'Decrypt a file or standard input'
complete -c hmsgctl -n __fish_use_subcommand -a convert -d 'Make a package a JWE, or back'
complete -c hmsgctl -n __fish_use_subcommand -a send -d 'Send a file or standard input'
complete -c hmsgctl -n __fish_use_subcommand -a inbox -d 'List messages that arrived'
complete -c hmsgctl -n __fish_use_subcommand -a read -d 'Decrypt a message of the inbox'
complete -c hmsgctl -n __fish_use_subcommand -a delete -d 'Delete a message'
complete -c hmsgctl -n __fish_use_subcommand -a outbox -d 'List what was sent; retry or cancel it'
complete -c hmsgctl -n __fish_use_subcommand -a monitor -d 'Print a line for each message that arrives'
complete -c hmsgctl -n __fish_use_subcommand -a session -d 'List or flush session keys'
complete -c hmsgctl -n __fish_use_subcommand -a access -d 'What programs may do, and did'
complete -c hmsgctl -n __fish_use_subcommand -a lock -d 'Forget session keys and refuse to decrypt'
complete -c hmsgctl -n __fish_use_subcommand -a unlock -d Unlock
complete -c hmsgctl -n __fish_use_subcommand -a status -d 'Show how agent, TPM and relays are'
complete -c hmsgctl -n __fish_use_subcommand -a doctor -d 'Check the set-up'
complete -c hmsgctl -n __fish_use_subcommand -a help -d 'Show help'

complete -c hmsgctl -n '__hmsgctl_verb identity' -a 'create import show rotate recover export pin approve device delete'
complete -c hmsgctl -n '__hmsgctl_verb contact' -a 'add list show verify block allow forget capability'
complete -c hmsgctl -n '__hmsgctl_verb mailbox' -a lifetime
complete -c hmsgctl -n '__hmsgctl_verb inbox' -a 'copy open'
complete -c hmsgctl -n '__hmsgctl_verb outbox' -a 'retry cancel'
complete -c hmsgctl -n '__hmsgctl_verb session' -a 'list flush'
complete -c hmsgctl -n '__hmsgctl_verb access' -a 'list allow ask deny revoke log'

complete -c hmsgctl -n '__hmsgctl_at identity' -l format -x -a 'identity pem jwk openssh csr' -d Format
complete -c hmsgctl -n '__hmsgctl_at identity' -l subject -x -d 'Subject of a certificate request'
complete -c hmsgctl -n '__hmsgctl_at encrypt' -l format -x -a 'hmsg jwe jwe-compact cms cms-der stream seed' -d Format
complete -c hmsgctl -n '__hmsgctl_at identity encrypt decrypt convert read inbox contact' -s o -l output -r -F -d 'Write to a file'
complete -c hmsgctl -n '__hmsgctl_at encrypt send' -s r -l recipient -x -a '(__hmsgctl_contacts)' -d 'A recipient'
complete -c hmsgctl -n '__hmsgctl_at encrypt decrypt convert send' -F
complete -c hmsgctl -n '__hmsgctl_at convert' -l to -x -a 'hmsg jwe' -d 'What it becomes'
complete -c hmsgctl -n '__hmsgctl_at identity delete contact' -l yes -d 'Do it without asking'
complete -c hmsgctl -n '__hmsgctl_verb identity' -l pin -d 'Protect the keys with a PIN'
complete -c hmsgctl -n '__hmsgctl_at identity unlock' -l pin-fd -x -d 'Descriptor of the PIN'
complete -c hmsgctl -n '__hmsgctl_at identity' -l new-pin-fd -x -d 'Descriptor of the new PIN'
complete -c hmsgctl -n '__hmsgctl_at identity' -l pcrs -x -d 'Bind the keys to these PCRs'
complete -c hmsgctl -n '__hmsgctl_at identity' -l policy-key -r -F -d 'Key that approves the PCRs'
complete -c hmsgctl -n '__hmsgctl_at identity' -l policy-password-fd -x -d 'Descriptor of its password'
complete -c hmsgctl -n '__hmsgctl_at identity' -l values -x -d 'What PCRs will be'
complete -c hmsgctl -n '__hmsgctl_at identity' -l to-sign -d 'Write what the policy key is to sign'
complete -c hmsgctl -n '__hmsgctl_at identity' -l signature -r -F -d 'What it has signed'
complete -c hmsgctl -n '__hmsgctl_at identity' -l recovery-key -r -F -d 'Public key that reads as well'
complete -c hmsgctl -n '__hmsgctl_at identity' -l recovery-sign-key -r -F -d 'Public sign key that may take over'
complete -c hmsgctl -n '__hmsgctl_at identity' -l no-recovery -d 'Name no recovery key any more'
complete -c hmsgctl -n '__hmsgctl_at identity' -l sign-key -r -F -d 'Import the key to sign as well'
complete -c hmsgctl -n '__hmsgctl_at identity' -l password-fd -x -d 'Descriptor of the password'
complete -c hmsgctl -n '__hmsgctl_at identity' -l keep-key -d 'Keep the keys'
complete -c hmsgctl -n '__hmsgctl_at identity' -l grace -x -d 'How long former keys decrypt'
complete -c hmsgctl -n '__hmsgctl_at identity' -l generation -x -a 'counter none' -d 'Bind the keys to a counter'
complete -c hmsgctl -n '__hmsgctl_at identity' -l protection -x -a 'tpm software' -d 'What protects the keys'
complete -c hmsgctl -n '__hmsgctl_at identity unlock' -l force -d 'Also the last try'
complete -c hmsgctl -n '__hmsgctl_at register' -l list -d 'List registrations'
complete -c hmsgctl -n '__hmsgctl_at register identity' -l remove -d 'Remove the address, or the PIN'
complete -c hmsgctl -n '__hmsgctl_at register' -l invite -d 'Type the code of an invitation'
complete -c hmsgctl -n '__hmsgctl_at register' -l invite-fd -x -d 'Descriptor of the code of an invitation'
complete -c hmsgctl -n '__hmsgctl_at register contact send' -l trust-relay -d 'Accept an unknown relay'
complete -c hmsgctl -n '__hmsgctl_at contact' -l name -x -d 'Your own name for it'
complete -c hmsgctl -n '__hmsgctl_at contact' -l key -r -F -d 'Key file'
complete -c hmsgctl -n '__hmsgctl_at contact' -l card -r -F -d 'Card of the contact'
complete -c hmsgctl -n '__hmsgctl_at contact' -l uses -x -d 'How many messages may come by it'
complete -c hmsgctl -n '__hmsgctl_at contact' -l fingerprint -x -d 'What the contact told you'
complete -c hmsgctl -n '__hmsgctl_at contact' -a '(__hmsgctl_contacts)'
complete -c hmsgctl -n '__hmsgctl_at encrypt' -l no-sign -d 'Do not sign'
complete -c hmsgctl -n '__hmsgctl_at encrypt' -l sign -d 'Sign inside CMS'
complete -c hmsgctl -n '__hmsgctl_at encrypt send' -l fresh -d 'A session for this message only'
complete -c hmsgctl -n '__hmsgctl_at encrypt decrypt convert read inbox' -l raw -d 'Do not escape'
complete -c hmsgctl -n '__hmsgctl_at decrypt read inbox' -l allow-unknown -d 'Open from unknown senders'
complete -c hmsgctl -n '__hmsgctl_at decrypt' -l allow-unauthenticated -d 'Open without MAC'
complete -c hmsgctl -n '__hmsgctl_at decrypt' -l allow-oaep-sha1 -d 'Open JWE with SHA-1'
complete -c hmsgctl -n '__hmsgctl_at decrypt' -l range -x -d 'Only these bytes'
complete -c hmsgctl -n '__hmsgctl_at send' -l subject -x -d Subject
complete -c hmsgctl -n '__hmsgctl_at send contact' -l expires -x -d 'Until when'
complete -c hmsgctl -n '__hmsgctl_at inbox identity' -l sync -d 'Ask the relays first'
complete -c hmsgctl -n '__hmsgctl_at session' -l direction -x -a 'in out' -d Direction
