# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of hmsgctl for bash.

_hmsgctl_contacts() {
    hmsgctl contact list --no-ask --json 2>/dev/null |
        sed -n 's/^ *"\(name\|address\)": "\([A-Za-z0-9@.:+_-]\{1,\}\)",\{0,1\}$/\2/p'
}

_hmsgctl() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
    local verb=${COMP_WORDS[2]} words='' all='--help --version --json --no-ask'
    COMPREPLY=()

    case $before in
    -o | --output | --key | --signature)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    -r | --recipient)
        mapfile -t COMPREPLY < <(compgen -W "key: $(_hmsgctl_contacts)" -- "$current")
        return
        ;;
    --format)
        words='hmsg jwe jwe-compact cms cms-der stream seed'
        [ "$command" = identity ] && words='identity pem jwk openssh csr'
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
        return
        ;;
    --to)
        mapfile -t COMPREPLY < <(compgen -W 'hmsg jwe' -- "$current")
        return
        ;;
    --generation)
        mapfile -t COMPREPLY < <(compgen -W 'counter none' -- "$current")
        return
        ;;
    --protection)
        mapfile -t COMPREPLY < <(compgen -W 'tpm software' -- "$current")
        return
        ;;
    --direction)
        mapfile -t COMPREPLY < <(compgen -W 'in out' -- "$current")
        return
        ;;
    --subject | --expires | --range | --fingerprint | --invite-fd | --name | --pin-fd | --new-pin-fd | --password-fd | --policy-password-fd | --pcrs | --values |
        --grace)
        return
        ;;
    esac

    if [ "$COMP_CWORD" -eq 1 ]; then
        words='identity register mailbox contact encrypt decrypt convert send inbox read delete outbox monitor session access
            lock unlock status doctor help'
    elif [ "$COMP_CWORD" -eq 2 ]; then
        case $command in
        identity) words='create import show rotate recover export pin approve device delete' ;;
        contact) words='add list show verify block allow forget capability' ;;
        mailbox) words='lifetime' ;;
        inbox) words='copy open' ;;
        outbox) words='retry cancel' ;;
        session) words='list flush' ;;
        access) words='list allow ask deny revoke log' ;;
        help) words='identity register mailbox contact encrypt decrypt convert send inbox read delete outbox monitor session
            access lock unlock status doctor' ;;
        esac
    fi
    case $command-$current in
    identity-*)
        [ "$verb" = create ] && words+=' --pin --pin-fd --generation --protection --pcrs --policy-key --password-fd --recovery-key --recovery-sign-key'
        [ "$verb" = approve ] && words+=' --password-fd --values --to-sign --signature --output'
        [ "$verb" = import ] && words+=' --sign-key --password-fd --pin --pin-fd --generation --pcrs --policy-key --policy-password-fd'
        [ "$verb" = rotate ] && words+=' --grace --generation --recovery-key --recovery-sign-key --no-recovery'
        [ "$verb" = recover ] && words+=' --trust-relay --recovery-key --recovery-sign-key'
        [ "$verb" = pin ] && words+=' --keep-key --remove --pin-fd --new-pin-fd --force --grace'
        [ "$verb" = export ] && words+=' --format --subject --output'
        [ "$verb" = delete ] && words+=' --yes'
        [ "$verb" = device ] && words+=' add list remove --yes --sync'
        ;;
    register-*) words+=' --list --remove --trust-relay --invite --invite-fd' ;;
    contact-*)
        case $verb in
        add) words+=' --name --key --card --trust-relay' ;;
        capability) words+=' create list revoke --name --uses --expires --output' ;;
        verify) words+=" --fingerprint --yes $(_hmsgctl_contacts)" ;;
        show | block | allow | forget) words+=" $(_hmsgctl_contacts)" ;;
        esac
        ;;
    encrypt-*) words+=' --recipient --output --format --no-sign --sign --fresh --raw' ;;
    decrypt-*) words+=' --output --allow-unknown --allow-unauthenticated --allow-oaep-sha1 --range --raw' ;;
    convert-*) words+=' --to --output --raw' ;;
    send-*) words+=' --recipient --subject --expires --trust-relay --fresh' ;;
    inbox-*)
        words+=' --sync'
        [ "$verb" = copy ] && words+=' --output --raw'
        [ "$verb" = open ] && words+=' --output --allow-unknown --raw'
        ;;
    read-*) words+=' --output --allow-unknown --raw' ;;
    delete-*) words+=' --yes' ;;
    unlock-*) words+=' --pin-fd --force' ;;
    session-*) [ "$verb" = flush ] && words+=' --direction' ;;
    esac
    [[ $current == -* ]] && words+=" $all"
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    case $command in
    encrypt | decrypt | convert | send)
        [[ $current == -* ]] || mapfile -t COMPREPLY < <(compgen -f -- "$current")
        ;;
    esac
}

complete -o filenames -F _hmsgctl hmsgctl
