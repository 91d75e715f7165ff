#compdef hmsgctl
# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of hmsgctl for zsh.

local -a all commands
all=('(-h --help)'{-h,--help}'[show help]' '--version[show the version]' '--json[print facts as JSON]'
    '--no-ask[never ask anything]')
commands=(
    'identity:make, show, export or delete your keys'
    'register:enter your keys at a relay'
    'mailbox:say how long messages for you wait at the relay'
    'contact:add, list, show, verify, block, allow or forget a contact'
    'encrypt:encrypt a file or standard input'
    'decrypt:decrypt a file or standard input'
    'convert:make a package a JWE, or a JWE a package'
    'send:send a file or standard input'
    'inbox:list messages that arrived; copy one, open a copy'
    'read:decrypt a message of the inbox'
    'delete:delete a message'
    'outbox:list what was sent; retry or cancel it'
    'monitor:print a line for each message that arrives'
    'session:list or flush session keys'
    'access:list, allow, deny or revoke what programs may do; show the log'
    'lock:forget session keys and refuse to decrypt'
    'unlock:unlock'
    'status:show how agent, TPM and relays are'
    'doctor:check the set-up'
    'help:show help'
)

_hmsgctl_contact() {
    local -a contacts
    contacts=(${(f)"$(hmsgctl contact list --no-ask --json 2>/dev/null |
        sed -n 's/^ *"\(name\|address\)": "\([A-Za-z0-9@.:+_-]\{1,\}\)",\{0,1\}$/\2/p')"})
    compadd -a contacts
}

if (( CURRENT == 2 )); then
    _describe command commands
    _arguments $all
    return
fi

local command=$words[2] verb=$words[3]
shift words
(( CURRENT-- ))
local -a recipient output
recipient=('*'{-r,--recipient}'[a recipient]:recipient:_hmsgctl_contact')
output=('(-o --output)'{-o,--output}'[write to a file]:file:_files')

case $command in
identity)
    _arguments $all $output '1:verb:(create import show rotate recover export pin approve device delete)' '*:file:_files' '--format[format]:format:(identity pem jwk openssh csr)' '--subject[subject of a certificate request]:name:' \
        '--pin[protect the keys with a PIN]' '--pin-fd[descriptor of the PIN]:descriptor:' \
        '--pcrs[bind the keys to these PCRs]:list:' '*--recovery-key[public key that reads as well]:file:_files' '*--recovery-sign-key[public sign key that may take over]:file:_files' '--no-recovery[name no recovery key any more]' \
        '--policy-key[key that approves the PCRs]:file:_files' '--policy-password-fd[descriptor of its password]:descriptor:' '--values[what PCRs will be]:list:' \
        '--to-sign[write what the policy key is to sign]' '--signature[what it has signed]:file:_files' \
        '--sign-key[import the key to sign as well]:file:_files' '--password-fd[descriptor of the password]:descriptor:' \
        '--new-pin-fd[descriptor of the new PIN]:descriptor:' '--keep-key[keep the keys]' '--grace[how long former keys decrypt]:time:' \
        '--generation[bind the keys to a counter]:generation:(counter none)' '--protection[what protects the keys]:protection:(tpm software)' '--remove[remove the PIN]' \
        '--force[also the last try]' '--yes[do it without asking]'
    ;;
register)
    _arguments $all '--list[list registrations]' '--remove[remove the address]' \
        '--trust-relay[accept an unknown relay]' '--invite[type the code of an invitation]' '--invite-fd[descriptor of the code]:descriptor:' '1:address:'
    ;;
mailbox)
    _arguments $all '1:verb:(lifetime)' '2:time or default:' '3:address:'
    ;;
contact)
    _arguments $all $output '1:verb:(add list show verify block allow forget capability)' '--card[card of the contact]:file:_files' \
        '--uses[how many messages may come]:number:' '--expires[until when]:time:' '--name[your name for it]:name:' \
        '--key[key file]:file:_files' '--trust-relay[accept an unknown relay]' \
        '--fingerprint[what the contact told you]:fingerprint:' '--yes[do it without asking]' \
        '2:contact:_hmsgctl_contact'
    ;;
encrypt)
    _arguments $all $recipient $output '--format[format]:format:(hmsg jwe jwe-compact cms cms-der stream seed)' \
        '--no-sign[do not sign]' '--sign[sign inside CMS]' \
        '--fresh[a session for this message only]' '--raw[do not escape]' '1:file:_files'
    ;;
decrypt)
    _arguments $all $output '--allow-unknown[open from unknown senders]' '--allow-oaep-sha1[open JWE with SHA-1]' \
        '--range[only these bytes]:OFFSET\:LENGTH:' '--allow-unauthenticated[open without MAC]' '--raw[do not escape]' '1:file:_files'
    ;;
convert) _arguments $all $output '--to[what it becomes]:format:(hmsg jwe)' '--raw[do not escape]' '1:file:_files' ;;
send)
    _arguments $all $recipient '--subject[subject]:text:' '--expires[give up after]:time:' \
        '--trust-relay[accept an unknown relay]' '--fresh[a session for this message only]' '1:file:_files'
    ;;
inbox)
    _arguments $all $output '--sync[fetch first]' '--allow-unknown[open from unknown senders]' '--raw[do not escape]' \
        '1:verb:(copy open)' '2:file:_files'
    ;;
read) _arguments $all $output '--allow-unknown[open from unknown senders]' '--raw[do not escape]' '1:id:' ;;
unlock) _arguments $all '--pin-fd[descriptor of the PIN]:descriptor:' '--force[also the last try]' ;;
delete) _arguments $all '--yes[do it without asking]' '1:id:' ;;
outbox) _arguments $all '1:verb:(retry cancel)' '2:id:' ;;
access)
    _arguments $all '1:verb:(list allow ask deny revoke log)' '2:program:(host)' '3:permission:(decrypt sign)'
    ;;
session) _arguments $all '1:verb:(list flush)' '--direction[direction]:direction:(in out)' '2:id:' ;;
help) _describe command commands ;;
*) _arguments $all ;;
esac
