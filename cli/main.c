/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "cli/ctl.h"
#include "hmsg-build.h"
#include "libhmsg/base/file.h"

#define HELP_SIZE_MAX (64u * 1024u)

static int usage(Ctl *ctl, int r, char *why)
{
    if (r > 0)
        (void)ctl_fail(ctl, r, "%s", why ? why : error_message(r));
    free(why);
    return r;
}

static int show_help(Ctl *ctl, const char *name, const char *verb)
{
    _cleanup_(buf_done) Buf text = BUF_MAX(HELP_SIZE_MAX);
    int r = name ? command_help(name, verb, &text) : command_overview(&text);

    if (r > 0)
        return ctl_fail(ctl, r, "There is no command \"%s%s%s\"", name, verb ? " " : "", verb ? verb : "");
    return r < 0 ? r : ctl_print_text(ctl, buf_text(&text));
}

static int run(Ctl *ctl, int argc, char *argv[])
{
    Options *o = &ctl->options;
    char *why = NULL;
    int r;

    r = options_parse(o, argc, argv, &why);
    if (r != 0)
        return usage(ctl, r, why);
    if (option_given(o, OPTION_VERSION))
        return ctl_print_text(ctl, "hmsgctl " HMSG_VERSION "\n");
    if (o->n_operands > 0 && strcmp(o->operands[0], "help") == 0)
        return show_help(ctl, ctl_operand(ctl, 1), ctl_operand(ctl, 2));
    if (o->n_operands < 2 && option_given(o, OPTION_HELP))
        return show_help(ctl, ctl_operand(ctl, 0), NULL);
    r = command_find(o, &ctl->command, &why);
    if (r != 0)
        return usage(ctl, r, why);
    if (option_given(o, OPTION_HELP))
        return show_help(ctl, ctl->command->name, ctl->command->verb);
    return ctl->command->run(ctl);
}

int main(int argc, char *argv[])
{
    _cleanup_(ctl_done) Ctl ctl = {0};

    int r = file_keep_standard();
    return ctl_report(&ctl, r == 0 ? run(&ctl, argc, argv) : r);
}
