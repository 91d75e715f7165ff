/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/jwe.h"
#include "libhmsg/wire/package.h"
#include "tests/fuzz/fuzz.h"

static const SessionStatement *remember(const uint8_t recall_id[static SHA256_SIZE], void *userdata)
{
    return userdata;
}

/* What was read the long way is read the short way by who remembers it. */
static void check_recall(const char *text, size_t n, const Package *p, const SessionStatement *statement)
{
    _cleanup_(package_freep) Package *again = NULL;
    SessionStatement known = *statement;

    fuzz_check(package_recall(text, n, remember, &known, &again) == 0, "a session can be recalled");
    fuzz_check(bytes_equal(again->recall_id, p->recall_id, SHA256_SIZE) && again->seq == p->seq &&
                   again->ts == p->ts && bytes_equal(again->tag, p->tag, sizeof(p->tag)),
               "both ways read the same");
}

/* All stages; the key is unknown, as for a package of a stranger. */
static void read_package(const char *text, size_t n, PackageKind kind)
{
    _cleanup_(package_freep) Package *p = NULL;
    _cleanup_(buf_done) Buf out = BUF_MAX(PLAINTEXT_SIZE_MAX);
    uint8_t id[SHA256_SIZE];
    SessionStatement statement;

    if (package_parse(text, n, kind, &p) != 0)
        return;
    fuzz_check(package_cache_id(p, id) == 0, "a package has a cache id");
    fuzz_check(package_check_recipient(p, p->kid) == 0, "a package is for its kid");
    if (package_check_sender(p, NULL, &statement) != 0)
        return;
    if (p->has_sender && kind == PACKAGE_MESSAGE)
        check_recall(text, n, p, &statement);
    int r = package_open(p, NULL, &out);
    fuzz_must(r != 0, "without its key a package stays closed");
    fuzz_check(r > 0, "and that is no failure of ours");
    fuzz_must(out.size == 0, "nothing comes out of it");
}

static void read_any(const char *text, size_t n)
{
    static const uint8_t kids[1][KID_SIZE] = {{0}};
    _cleanup_(package_freep) Package *p = NULL;
    size_t kid = 0;

    if (package_find(text, n, PACKAGE_MESSAGE, kids, 1, &p, &kid) == 0)
        fuzz_check(kid == 0 && p->stage == PACKAGE_RECIPIENT_CHECKED, "what is found is ours");
}

/* Whatever can be a JWE comes back from there as a package, and stays what it is then. */
static void rename_package(const char *text, size_t n)
{
    _cleanup_(buf_done) Buf jwe = BUF_MAX(JWE_SIZE_MAX);
    _cleanup_(buf_done) Buf package = BUF_MAX(PACKAGE_SIZE_MAX);
    _cleanup_(buf_done) Buf again = BUF_MAX(JWE_SIZE_MAX);
    int r = wire_format_detect(text, n) == FORMAT_JWE ? jwe_convert(text, n, FORMAT_JWE, &jwe)
                                                      : jwe_from_package(text, n, &jwe);

    if (r != 0)
        return;
    fuzz_check(jwe_to_package(buf_text(&jwe), jwe.size, &package) == 0, "a JWE becomes a package");
    fuzz_check(jwe_from_package(buf_text(&package), package.size, &again) == 0, "and a JWE again");
    buf_clear(&jwe);
    fuzz_check(jwe_to_package(buf_text(&again), again.size, &jwe) == 0 && jwe.size == package.size &&
                   bytes_equal(jwe.data, package.data, jwe.size),
               "with the same members");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;

    read_package(text, size, PACKAGE_MESSAGE);
    read_package(text, size, PACKAGE_STREAM);
    read_any(text, size);
    rename_package(text, size);
    return 0;
}
