/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include "server/listen.h"

#define BACKLOG 1024
#define ADDRESS_TEXT_MAX 64u

/* getaddrinfo() takes 65536 for 0. */
static bool port_valid(const char *text)
{
    size_t n = strspn(text, "0123456789");

    return n > 0 && n < 6 && text[n] == '\0' && strtoul(text, NULL, 10) <= UINT16_MAX;
}

/* "127.0.0.1:80", "[::1]:80": address without brackets, and port. */
static int split(const char *address, char host[static ADDRESS_TEXT_MAX], const char **ret_port)
{
    const char *colon = strrchr(address, ':');
    size_t n = colon ? (size_t)(colon - address) : 0;

    if (n > 2 && address[0] == '[' && address[n - 1] == ']') {
        address++;
        n -= 2;
    } else if (n == 0 || memchr(address, ':', n))
        return -EINVAL;
    if (n >= ADDRESS_TEXT_MAX || !port_valid(colon + 1))
        return -EINVAL;
    memcpy(host, address, n);
    host[n] = '\0';
    *ret_port = colon + 1;
    return 0;
}

static int resolve(const char *address, struct addrinfo **ret)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    char host[ADDRESS_TEXT_MAX];
    const char *port;
    int r;

    r = split(address, host, &port);
    if (r < 0)
        return r;
    return getaddrinfo(host, port, &hints, ret) == 0 ? 0 : -EINVAL;
}

bool listen_address_valid(const char *address)
{
    struct addrinfo *found;

    if (resolve(address, &found) < 0)
        return false;
    freeaddrinfo(found);
    return true;
}

static int open_one(const struct addrinfo *a, int *ret_fd)
{
    _cleanup_(fd_closep) int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1, zero = 0;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
        return -errno;
    if (a->ai_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero)) < 0)
        return -errno;
    if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
        return -errno;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

int listen_open(const char *address, int *ret_fd)
{
    struct addrinfo *found;
    int r;

    r = resolve(address, &found);
    if (r < 0)
        return r;
    r = open_one(found, ret_fd);
    freeaddrinfo(found);
    return r;
}

int listen_inherited(int *ret_fds, size_t max)
{
    int n = sd_listen_fds(1);

    if (n < 0)
        return n;
    if ((size_t)n > max)
        return -E2BIG;
    for (int i = 0; i < n; i++) {
        int fd = SD_LISTEN_FDS_START + i;
        int flags = fcntl(fd, F_GETFL);

        if (sd_is_socket_inet(fd, AF_UNSPEC, SOCK_STREAM, 1, 0) <= 0)
            return -EINVAL;
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
            return -errno;
        ret_fds[i] = fd;
    }
    return n;
}

int listen_port(int fd, uint16_t *ret)
{
    struct sockaddr_storage name = {0};
    socklen_t size = sizeof(name);

    if (getsockname(fd, (struct sockaddr *)&name, &size) < 0)
        return -errno;
    if (name.ss_family == AF_INET)
        *ret = ntohs(((const struct sockaddr_in *)(const void *)&name)->sin_port);
    else if (name.ss_family == AF_INET6)
        *ret = ntohs(((const struct sockaddr_in6 *)(const void *)&name)->sin6_port);
    else
        return -EAFNOSUPPORT;
    return 0;
}
