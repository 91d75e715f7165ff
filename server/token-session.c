/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Modules, slots, tokens and sessions. */

#include <errno.h>
#include <string.h>

#include "libhmsg/base/error.h"
#include "libhmsg/base/log.h"
#include "server/token-internal.h"

#define SLOTS_MAX 64u

int token_result(const char *command, CK_RV rv)
{
    switch (rv) {
    case CKR_OK:
        return 0;
    case CKR_PIN_INCORRECT:
    case CKR_PIN_INVALID:
    case CKR_PIN_LEN_RANGE:
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    case CKR_PIN_LOCKED:
    case CKR_PIN_EXPIRED:
        return HMSG_ERROR_LOCKED;
    case CKR_HOST_MEMORY:
        return -ENOMEM;
    case CKR_TOKEN_NOT_PRESENT:
    case CKR_DEVICE_REMOVED:
    case CKR_SLOT_ID_INVALID:
        return -ENODEV;
    default:
        log_warning("The PKCS#11 token: %s: %s (0x%lx)", command, p11_kit_strerror(rv), rv);
        return rv == CKR_KEY_FUNCTION_NOT_PERMITTED || rv == CKR_KEY_TYPE_INCONSISTENT ? -EPERM : -EIO;
    }
}

int token_parse_uri(const char *text, P11KitUri **ret)
{
    P11KitUri *uri = p11_kit_uri_new();

    if (!uri)
        return -ENOMEM;
    /* of a PIN it says nothing, and what is not understood might select another key */
    if (strlen(text) > TOKEN_URI_MAX || p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, uri) != P11_KIT_URI_OK ||
        p11_kit_uri_any_unrecognized(uri) || p11_kit_uri_get_pin_value(uri) ||
        p11_kit_uri_get_pin_source(uri)) {
        p11_kit_uri_free(uri);
        return HMSG_ERROR_INVALID_ARGS;
    }
    *ret = uri;
    return 0;
}

static int load_modules(Token *t)
{
    const char *path = p11_kit_uri_get_module_path(t->uri);
    const char *message;

    if (path) {
        t->one[0] = p11_kit_module_load(path, 0);
        if (t->one[0] && p11_kit_module_initialize(t->one[0]) != CKR_OK) {
            p11_kit_module_release(t->one[0]);
            t->one[0] = NULL;
        }
        t->modules = t->one[0] ? t->one : NULL;
    } else
        t->modules = p11_kit_modules_load_and_initialize(0);
    if (t->modules)
        return 0;
    message = p11_kit_message();
    log_warning("The PKCS#11 module %s: %s", path ? path : "", message ? message : "does not load");
    return -ENODEV;
}

/* Is it the token that the URI is about? */
static bool is_meant(const Token *t, CK_FUNCTION_LIST *module, CK_SLOT_ID slot, CK_TOKEN_INFO *ret)
{
    CK_SLOT_INFO info;

    if (module->C_GetSlotInfo(slot, &info) != CKR_OK || module->C_GetTokenInfo(slot, ret) != CKR_OK)
        return false;
    return (ret->flags & CKF_TOKEN_INITIALIZED) != 0 && p11_kit_uri_match_slot_info(t->uri, &info) == 1 &&
           p11_kit_uri_match_token_info(t->uri, ret) == 1;
}

static int find_token(Token *t, CK_SLOT_ID *ret_slot, CK_TOKEN_INFO *ret)
{
    unsigned found = 0;

    for (CK_FUNCTION_LIST **m = t->modules; *m; m++) {
        CK_SLOT_ID slots[SLOTS_MAX];
        CK_ULONG n = SLOTS_MAX;
        CK_TOKEN_INFO token;
        CK_INFO info;

        if ((*m)->C_GetInfo(&info) != CKR_OK || p11_kit_uri_match_module_info(t->uri, &info) != 1 ||
            (*m)->C_GetSlotList(CK_TRUE, slots, &n) != CKR_OK)
            continue;
        for (CK_ULONG i = 0; i < n && i < SLOTS_MAX; i++) {
            if (!is_meant(t, *m, slots[i], &token))
                continue;
            found++;
            t->module = *m;
            *ret_slot = slots[i];
            *ret = token;
        }
    }
    if (found > 1)
        return -ENOTUNIQ;
    return found == 1 ? 0 : -ENODEV;
}

static int log_in(Token *t, const CK_TOKEN_INFO *info)
{
    bool asks = (info->flags & CKF_PROTECTED_AUTHENTICATION_PATH) != 0;
    CK_RV rv;
    int r;

    if ((info->flags & CKF_LOGIN_REQUIRED) == 0)
        return 0;
    if (!t->pin && !asks)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    rv = t->module->C_Login(t->session, CKU_USER,
                            t->pin ? (unsigned char *)(uintptr_t)secret_bytes(t->pin) : NULL,
                            t->pin ? secret_size(t->pin) : 0);
    r = rv == CKR_USER_ALREADY_LOGGED_IN ? 0 : token_result("C_Login", rv);
    t->barred = r == HMSG_ERROR_AUTHENTICATION_FAILED || r == HMSG_ERROR_LOCKED;
    return r;
}

int token_connect(Token *t)
{
    CK_TOKEN_INFO info = {.flags = 0};
    CK_SLOT_ID slot = 0;
    int r;

    if (t->barred)
        return HMSG_ERROR_AUTHENTICATION_FAILED;
    r = load_modules(t);
    if (r == 0)
        r = find_token(t, &slot, &info);
    if (r == 0)
        r = token_result("C_OpenSession", t->module->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION,
                                                                   NULL, NULL, &t->session));
    if (r == 0)
        r = log_in(t, &info);
    if (r != 0)
        token_disconnect(t);
    return r;
}

void token_disconnect(Token *t)
{
    if (t->module && t->session)
        (void)t->module->C_CloseSession(t->session);
    t->session = 0;
    t->module = NULL;
    if (t->modules == t->one) {
        (void)p11_kit_module_finalize(t->one[0]);
        p11_kit_module_release(t->one[0]);
    } else if (t->modules)
        p11_kit_modules_finalize_and_release(t->modules);
    t->modules = NULL;
    t->one[0] = NULL;
}
