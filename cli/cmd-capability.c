/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "cli/cmd.h"
#include "cli/content.h"
#include "cli/json-util.h"
#include "cli/pin.h"
#include "libhmsg/base/file.h"

#define CARD_MAX 1024u /* bytes of a card */
#define LIFETIME_MAX (366u * 86400u)

static const RenderField columns[] = {
    {"number", "NUMBER", RENDER_NUMBER}, {"name", "NAME", RENDER_TEXT},       {"uses", "LEFT", RENDER_NUMBER},
    {"created", "CREATED", RENDER_TIME}, {"expires", "EXPIRES", RENDER_TIME},
};

static int parse_number(const char *text, uint64_t *ret)
{
    char *end = NULL;
    uintmax_t n;

    errno = 0;
    n = strtoumax(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno != 0 || n == 0)
        return HMSG_ERROR_INVALID_ARGS;
    *ret = n;
    return 0;
}

static int create_call(Ctl *ctl, const char *address, HmsgCall **ret)
{
    const char *uses = ctl->options.values[OPTION_USES], *expires = ctl->options.values[OPTION_EXPIRES];
    uint64_t n = 0, seconds = 0;
    int r;

    if (uses && parse_number(uses, &n) != 0)
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "--uses is a number from 1 on");
    if (expires && (option_seconds(expires, LIFETIME_MAX, &seconds) != 0 || seconds == 0))
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "--expires is a time such as 12h or 7d, at most 366d");
    r = ctl_call_new(ctl, "Contacts", "CreateCapability", ret);
    if (r != 0)
        return r;
    hmsg_call_string(*ret, address ? address : "");
    hmsg_call_option_string(*ret, "name", ctl->options.values[OPTION_NAME]);
    if (uses)
        hmsg_call_option_number(*ret, "uses", n);
    if (expires)
        hmsg_call_option_number(*ret, "expires_in", seconds);
    return 0;
}

static int read_card(Ctl *ctl, sd_bus_message *reply, Buf *ret)
{
    int fd, r;

    r = sd_bus_message_read_basic(reply, 'h', &fd);
    if (r >= 0 && lseek(fd, 0, SEEK_SET) < 0)
        r = -errno;
    if (r >= 0)
        r = file_read_fd(fd, ret);
    return r < 0 ? ctl_fail(ctl, r, "The agent's answer cannot be read: %s", error_message(r)) : 0;
}

/* Where the card is standard output, it is a member of the JSON. */
static int print_created(Ctl *ctl, Output *out, const Buf *card, json_t *facts)
{
    bool json = ctl_given(ctl, OPTION_JSON), inside = json && output_is_stdout(out);
    int r = 0;

    if (inside && json_object_set_new(facts, "card", json_stringn(buf_text(card), card->size)) < 0)
        return -ENOMEM;
    if (!inside)
        r = content_write(ctl, out, card->data, card->size);
    if (r == 0 && !inside)
        r = content_commit(ctl, out, NULL);
    if (r == 0 && json)
        return ctl_print_json(ctl, facts);
    if (r == 0)
        ctl_note("Capability %" JSON_INTEGER_FORMAT " lets whoever has this card send %" JSON_INTEGER_FORMAT
                 " messages; give it to nobody else, on a way that nobody else reads.",
                 json_integer_value(json_object_get(facts, "number")),
                 json_integer_value(json_object_get(facts, "uses")));
    return r;
}

/* Nobody can have the card of this one. */
static void take_back_unwritten(Ctl *ctl, const char *address, const json_t *facts)
{
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    json_int_t number = json_integer_value(json_object_get(facts, "number"));

    if (number <= 0 || hmsg_call_new(ctl->client, "Contacts", "RevokeCapability", &call) != 0)
        return;
    hmsg_call_string(call, address ? address : "");
    hmsg_call_option_number(call, "number", (uint64_t)number);
    (void)hmsg_call_run(call, NULL); /* what is told is why it was not written */
}

static int create(Ctl *ctl, const char *address)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    _cleanup_(json_unrefp) json_t *facts = NULL;
    _cleanup_(output_freep) Output *out = NULL;
    _cleanup_(buf_done) Buf card = BUF_MAX(CARD_MAX);
    int r;

    r = content_open_output(ctl, 0600, &out);
    if (r == 0 && output_wants_name(out))
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "A card has no name of its own: give -o a file");
    if (r == 0)
        r = create_call(ctl, address, &call);
    if (r == 0)
        r = ctl_call_run(ctl, call, &reply);
    if (r == 0)
        r = read_card(ctl, reply, &card);
    if (r == 0)
        r = ctl_facts(ctl, reply, &facts);
    if (r != 0)
        return r;
    r = print_created(ctl, out, &card, facts);
    if (r != 0)
        take_back_unwritten(ctl, address, facts);
    return r;
}

static int list(Ctl *ctl, const char *address)
{
    _cleanup_(json_unrefp) json_t *all = NULL;
    int r = ctl_simple(ctl, &all, "Contacts", "ListCapabilities", address ? address : "");

    return r == 0 ? ctl_print_table(ctl, all, columns, ELEMENTSOF(columns), "There are no capabilities.") : r;
}

static int take_back(Ctl *ctl, const char *number, const char *address)
{
    _cleanup_(hmsg_call_freep) HmsgCall *call = NULL;
    uint64_t n = 0;
    int r;

    if (!number || parse_number(number, &n) != 0)
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "Which one? contact capability list shows the numbers");
    r = ctl_call_new(ctl, "Contacts", "RevokeCapability", &call);
    if (r != 0)
        return r;
    hmsg_call_string(call, address ? address : "");
    hmsg_call_option_number(call, "number", n);
    r = ctl_call_run(ctl, call, NULL);
    return r == 0 ? ctl_print_nothing(ctl) : r;
}

int cmd_contact_capability(Ctl *ctl)
{
    const char *what = ctl_operand(ctl, 0), *second = ctl_operand(ctl, 1), *third = ctl_operand(ctl, 2);
    bool creates = strcmp(what, "create") == 0, lists = strcmp(what, "list") == 0;
    const uint64_t of_create = OPTION_BIT(OPTION_NAME) | OPTION_BIT(OPTION_USES) |
                               OPTION_BIT(OPTION_EXPIRES) | OPTION_BIT(OPTION_OUTPUT);

    if (!creates && !lists && strcmp(what, "revoke") != 0)
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "A capability is to create, list or revoke, not \"%s\"",
                        what);
    if (!creates && (ctl->options.given & of_create))
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS,
                        "--name, --uses, --expires and --output are for \"contact capability create\"");
    if ((creates || lists) && third)
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "one word too many: \"%s\"", third);
    if (creates)
        return create(ctl, second);
    return lists ? list(ctl, second) : take_back(ctl, second, third);
}

/* ADDRESS, and the code behind white space, if there is one. */
static int split(Ctl *ctl, const char *path, char *card, const char **ret_code)
{
    static const char space[] = " \t\r\n";
    char *code = card + strcspn(card, space);

    if (*code)
        *code++ = 0;
    code += strspn(code, space);
    code[strcspn(code, space)] = 0;
    *ret_code = code;
    return strchr(card, '@')
               ? 0
               : ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "%s is no card: it begins with an address", path);
}

static int make_memfd(Ctl *ctl, const char *code, int *ret)
{
    _cleanup_(fd_closep) int fd = memfd_create("hmsg-capability", MFD_CLOEXEC);
    int r = fd < 0 ? -errno : file_write_fd(fd, code, strlen(code));

    if (r < 0)
        return ctl_fail(ctl, r, "Memory for the capability: %s", error_message(r));
    *ret = TAKE_FD(fd);
    return 0;
}

int card_read(Ctl *ctl, const char *path, char **ret_address, int *ret_fd)
{
    _cleanup_(buf_done) Buf card = BUF_MAX(CARD_MAX + 1);
    _cleanup_(input_freep) Input *in = NULL;
    const char *code = "";
    int r;

    r = input_open(path, CARD_MAX, &in);
    if (r < 0)
        return ctl_fail(ctl, r, "%s: %s", path, error_message(r));
    if (!input_whole(in) || memchr(input_data(in)->data, 0, input_data(in)->size))
        return ctl_fail(ctl, HMSG_ERROR_INVALID_ARGS, "%s is no card", path);
    r = buf_append(&card, input_data(in)->data, input_data(in)->size);
    if (r == 0)
        r = buf_append(&card, "", 1);
    if (r == 0)
        r = split(ctl, path, (char *)card.data, &code);
    if (r != 0)
        return r;
    *ret_address = strdup((const char *)card.data);
    if (!*ret_address)
        return -ENOMEM;
    return *code ? make_memfd(ctl, code, ret_fd) : 0;
}
