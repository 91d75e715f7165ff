#compdef hmsg-relay
# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of hmsg-relay for zsh.

local -a commands config json
commands=(
    'init:make a configuration and a key'
    'serve:run'
    'config:check the configuration'
    'key:show, copy, restore or change the key'
    'store:copy, check, encrypt anew or move what is stored'
    'client:who is registered'
    'invite:invitations for new users'
)
config=('--config[the configuration]:file:_files')
json=('--json[print JSON]')

if (( CURRENT == 2 )); then
    _describe command commands
    _arguments '--help[show help]' '--version[show the version]'
    return
fi

local command=$words[2] verb=$words[3]
shift words
(( CURRENT-- ))

case $command in
init) _arguments '--host[the part behind the @]:host:_hosts' '--listen[where it listens]:address:' '--key[the key in a PKCS#11 token or the TPM]:pkcs11 URI or tpm2:(tpm2)' '--pin-fd[descriptor with its PIN]:number:' '--tcti[how the TPM is reached]:TCTI:' '1:folder:_directories' ;;
serve) _arguments $config ;;
config) _arguments $config '1:verb:(check)' ;;
key)
    case $verb in
    show) _arguments $config $json '1:verb:(show)' ;;
    backup) _arguments $config '*--to[a public key]:file:_files' '1:verb:(backup)' ;;
    rotate) _arguments $config '--now[change to the next key at once]' '1:verb:(rotate)' ;;
    *) _arguments $config '1:verb:(show backup restore rotate)' ;;
    esac
    ;;
store)
    case $verb in
    backup) _arguments $config '1:verb:(backup)' '2:folder:_directories' ;;
    check) _arguments $config $json '1:verb:(check)' ;;
    migrate) _arguments $config '1:verb:(migrate)' '2:to:(postgres sqlite)' ;;
    *) _arguments $config '1:verb:(backup check rekey migrate)' ;;
    esac
    ;;
client) _arguments $config $json '1:verb:(list show block unblock delete)' '2:client:' ;;
invite)
    case $verb in
    create) _arguments $config $json '--uses[how many it lets in]:number:' '--days[when it ends]:number:' '1:verb:(create)' ;;
    *) _arguments $config $json '1:verb:(create list revoke)' '2:number:' ;;
    esac
    ;;
esac
