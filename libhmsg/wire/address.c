/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/wire/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "libhmsg/base/encode.h"
#include "libhmsg/base/error.h"
#include "libhmsg/base/secret.h"

#define LABEL_SIZE_MAX 63u

static bool lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool name_valid_n(const char *name, size_t n)
{
    if (n == 0 || n > NAME_SIZE_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!lower_or_digit(name[i]) && name[i] != '+' && name[i] != '.' && name[i] != '_' && name[i] != '-')
            return false;
    return true;
}

bool name_valid(const char *name)
{
    return name_valid_n(name, strnlen(name, NAME_SIZE_MAX + 1));
}

/* Labels of letters, digits and inner hyphens (RFC 1123); what is all digits and dots must be an IPv4
 * address, so that one host has one text. */
static bool dns_valid(const char *host)
{
    size_t label = 0, n = strlen(host);
    bool numeric = true;
    if (n == 0 || n > HOST_SIZE_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = host[i];
        if (c == '.') {
            if (label == 0 || host[i - 1] == '-')
                return false;
            label = 0;
            continue;
        }
        if (!lower_or_digit(c) && (c != '-' || label == 0))
            return false;
        if (c < '0' || c > '9')
            numeric = false;
        if (++label > LABEL_SIZE_MAX)
            return false;
    }
    if (label == 0 || host[n - 1] == '-')
        return false;
    struct in_addr v4;
    return !numeric || inet_pton(AF_INET, host, &v4) == 1;
}

static int parse_host(const char *text, size_t n, char *ret, size_t room)
{
    if (n == 0 || n >= room)
        return HMSG_ERROR_INVALID_ARGS;
    char host[HOST_SIZE_MAX + 3];
    for (size_t i = 0; i < n; i++)
        host[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] - 'A' + 'a') : text[i];
    host[n] = 0;
    if (host[0] != '[') {
        if (!dns_valid(host))
            return HMSG_ERROR_INVALID_ARGS;
        memcpy(ret, host, n + 1);
        return 0;
    }
    struct in6_addr v6;
    char canonical[INET6_ADDRSTRLEN];
    if (n < 4 || host[n - 1] != ']')
        return HMSG_ERROR_INVALID_ARGS;
    host[n - 1] = 0;
    if (inet_pton(AF_INET6, host + 1, &v6) != 1 || !inet_ntop(AF_INET6, &v6, canonical, sizeof(canonical)))
        return HMSG_ERROR_INVALID_ARGS;
    size_t size = strlen(canonical);
    ret[0] = '[';
    memcpy(ret + 1, canonical, size);
    ret[size + 1] = ']';
    ret[size + 2] = 0;
    return 0;
}

static int parse_port(const char *text, size_t n, uint16_t *ret)
{
    unsigned port = 0;
    if (n == 0 || n > 5 || text[0] == '0')
        return HMSG_ERROR_INVALID_ARGS;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return HMSG_ERROR_INVALID_ARGS;
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    if (port > UINT16_MAX)
        return HMSG_ERROR_INVALID_ARGS;
    *ret = (uint16_t)port;
    return 0;
}

static int parse_relay_n(const char *text, size_t n, Relay *ret)
{
    Relay relay = {.port = RELAY_PORT_DEFAULT};
    if (n == 0 || n > ADDRESS_SIZE_MAX)
        return HMSG_ERROR_INVALID_ARGS;
    const char *pin = memchr(text, '#', n);
    size_t rest = pin ? (size_t)(pin - text) : n;
    if (pin) {
        relay.has_pin = true;
        if (base64url_decode_exact(pin + 1, n - rest - 1, relay.pin, PIN_SIZE) != 0)
            return HMSG_ERROR_INVALID_ARGS;
    }
    size_t host = rest;
    const char *bracket = memchr(text, ']', rest);
    const char *colon =
        bracket ? memchr(bracket, ':', rest - (size_t)(bracket - text)) : memchr(text, ':', rest);
    if (colon) {
        host = (size_t)(colon - text);
        int r = parse_port(colon + 1, rest - host - 1, &relay.port);
        if (r != 0)
            return r;
    }
    int r = parse_host(text, host, relay.host, sizeof(relay.host));
    if (r == 0)
        *ret = relay;
    return r;
}

int relay_parse(const char *text, Relay *ret)
{
    return parse_relay_n(text, strnlen(text, ADDRESS_SIZE_MAX + 1), ret);
}

int address_parse(const char *text, Address *ret)
{
    Address address = {};
    size_t n = strnlen(text, ADDRESS_SIZE_MAX + 1);
    const char *at = memchr(text, '@', n);
    if (!at || n > ADDRESS_SIZE_MAX || !name_valid_n(text, (size_t)(at - text)))
        return HMSG_ERROR_INVALID_ARGS;
    memcpy(address.name, text, (size_t)(at - text));
    int r = parse_relay_n(at + 1, n - (size_t)(at - text) - 1, &address.relay);
    if (r == 0)
        *ret = address;
    return r;
}

static int format(const Relay *relay, bool with_port, bool with_pin, Buf *ret)
{
    int r = buf_append_string(ret, relay->host);
    if (r == 0 && (with_port || relay->port != RELAY_PORT_DEFAULT))
        r = buf_printf(ret, ":%u", relay->port);
    if (r == 0 && with_pin && relay->has_pin) {
        r = buf_append_string(ret, "#");
        if (r == 0)
            r = base64url_append(ret, relay->pin, PIN_SIZE);
    }
    return r;
}

int relay_format(const Relay *relay, bool with_pin, Buf *ret)
{
    return format(relay, false, with_pin, ret);
}

int relay_format_full(const Relay *relay, Buf *ret)
{
    return relay->has_pin ? format(relay, true, true, ret) : -EINVAL;
}

int address_format(const Address *a, bool with_pin, Buf *ret)
{
    int r = buf_append_string(ret, a->name);
    if (r == 0)
        r = buf_append_string(ret, "@");
    return r == 0 ? format(&a->relay, false, with_pin, ret) : r;
}

bool relay_equal(const Relay *a, const Relay *b)
{
    if (a->port != b->port || strcmp(a->host, b->host) != 0)
        return false;
    return !a->has_pin || !b->has_pin || bytes_equal(a->pin, b->pin, PIN_SIZE);
}
