# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of hmsg-relay for bash.

_hmsg_relay() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
    local verb=${COMP_WORDS[2]} words=''
    COMPREPLY=()

    case $before in
    --config | --to)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    --host)
        mapfile -t COMPREPLY < <(compgen -A hostname -- "$current")
        return
        ;;
    --listen | --uses | --days | --pin-fd | --tcti)
        return
        ;;
    esac

    if [ "$COMP_CWORD" -eq 1 ]; then
        words='init serve config key store client invite --help --version'
    elif [ "$COMP_CWORD" -eq 2 ]; then
        case $command in
        config) words='check' ;;
        key) words='show backup restore rotate' ;;
        store) words='backup check rekey migrate' ;;
        client) words='list show block unblock delete' ;;
        invite) words='create list revoke' ;;
        esac
    fi
    if [[ $current == -* ]] && [ "$COMP_CWORD" -gt 1 ]; then
        case $command-$verb in
        init-*) words='--host --listen --key --pin-fd --tcti' ;;
        key-show | store-check | client-* | invite-list) words='--config --json' ;;
        key-backup) words='--config --to' ;;
        key-rotate) words='--config --now' ;;
        invite-create) words='--config --json --uses --days' ;;
        *) words='--config' ;;
        esac
    fi
    if [ "$command-$verb" = store-migrate ] && [ "$COMP_CWORD" -eq 3 ]; then
        words='postgres sqlite'
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    case $command-$verb in
    init-* | store-backup)
        [[ $current == -* || -n $words ]] || mapfile -t COMPREPLY < <(compgen -d -- "$current")
        ;;
    esac
}

complete -o filenames -F _hmsg_relay hmsg-relay
