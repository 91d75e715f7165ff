/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a relay answers to the courier. The first byte says to which call, or that it is a refusal. */

#include <string.h>

#include "agent/courier/call.h"
#include "libhmsg/base/error.h"
#include "tests/fuzz/bus.h"
#include "tests/fuzz/fuzz.h"

/* As in the corpus: what was acknowledged. */
#define ID "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define OTHER_ID "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"

static const struct {
    call_read_t *read;
    const char *signature; /* of the reply, as dbus/org.hmsg.Courier1.xml has it */
} readers[] = {
    {answer_to_acknowledge, "as"}, {answer_to_capabilities, "a(tttt)"},
    {answer_to_grant, "t"},        {answer_to_list, "a(tstst)b"},
    {answer_to_lookup, "ssss"},    {answer_to_register, "ss"},
    {answer_to_relay, "stt"},      {answer_to_status, "s"},
    {answer_to_submit, "ss"},      {answer_to_settings, "ttt"},
};

static void look(size_t which, const json_t *answer)
{
    const char *ids[] = {ID, OTHER_ID};
    Call call = {.ids = ids, .n_ids = ELEMENTSOF(ids)};
    const Request request = {.upload = -1, .download = -1};
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

    fuzz_check(sd_bus_message_new_signal(fuzz_bus(), &reply, "/", "org.hmsg.Fuzz", "Reply") >= 0,
               "a message");
    int r = readers[which].read(&call, &request, answer, reply);
    fuzz_check(r == 0 || r == HMSG_ERROR_BAD_PACKAGE || r == HMSG_ERROR_TOO_LARGE || r == -EMSGSIZE,
               "its errors");
    if (r != 0)
        return;
    fuzz_must(sd_bus_message_seal(reply, 1, 0) >= 0, "the reply is whole");
    fuzz_must(strcmp(sd_bus_message_get_signature(reply, true), readers[which].signature) == 0,
              "and of the documented form");
}

/* Its first three digits are the status, the rest is the body. */
static void refuse(const uint8_t *data, size_t size)
{
    unsigned status = 0, seconds = 0;
    char text[64] = "";
    Problem p;

    if (size < 3)
        return;
    for (size_t i = 0; i < 3; i++)
        status = status * 10 + data[i] % 10;
    memcpy(text, data, size < sizeof(text) ? size : sizeof(text) - 1);
    if (retry_after_parse(text, &seconds))
        fuzz_must(seconds <= PROBLEM_RETRY_AFTER_MAX, "nobody waits longer");
    problem_from_answer(&p, status, "application/problem+json", text, data + 3, size - 3);
    fuzz_must(p.name != NULL && strlen(p.text) > 0, "it says something");
    for (const char *c = p.text; *c; c++)
        fuzz_must(*c >= ' ' && *c <= '~', "in ASCII that can be printed");
    fuzz_must(strncmp(p.text, "pin=", 4) != 0, "and does not say that it is another relay");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(json_decrefp) json_t *answer = NULL;
    size_t which;

    if (size == 0)
        return 0;
    which = (uint8_t)(data[0] - '0') % (ELEMENTSOF(readers) + 1);
    if (which == ELEMENTSOF(readers))
        refuse(data + 1, size - 1);
    else if (json_parse_object((const char *)data + 1, size - 1, &answer) == 0)
        look(which, answer);
    return 0;
}
