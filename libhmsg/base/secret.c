/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libhmsg/base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libhmsg/base/file.h"

struct Secret {
    size_t size;
    uint8_t data[];
};

static pthread_once_t heap_once = PTHREAD_ONCE_INIT; /* lint: global: OpenSSL has one secure heap */
static int heap_result;                              /* lint: global: the same */
static size_t heap_size = SECRET_HEAP_SIZE;          /* lint: global: the same */

#define SLOT_SIZE 64u /* the least that it gives */

static void heap_setup(void)
{
    /* 1: mapped and locked; 2: mapped, but mlock was refused; 0: not mapped at all. */
    heap_result = CRYPTO_secure_malloc_init(heap_size, SLOT_SIZE) == 1 ? 0 : -ENOMEM;
}

/* Memory of memfd_secret(2) keeps a machine from hibernating: none where it could. */
static bool can_hibernate(void)
{
    char text[64] = "";
    int fd = open("/sys/power/disk", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    (void)fd_close(fd);
    return n > 0 && !strstr(text, "[disabled]");
}

/* All of the heap, which is empty. What OpenSSL keeps in it is written again as soon as it is back. */
static uint64_t *heap_find(void)
{
    void *all = OPENSSL_secure_malloc(heap_size);
    bool found = all && CRYPTO_secure_allocated(all);

    OPENSSL_secure_free(all);
    return found ? all : NULL;
}

/* To the heap the same contents in memory that only this process has: not even root's debugger reads it, nor
 * is it in the kernel's own map of the memory. It is shared with what is forked; programs fork before. */
static int heap_move(uint64_t *heap, int fd)
{
    uint64_t *hidden = mmap(NULL, heap_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (hidden == MAP_FAILED)
        return -errno;
    for (size_t i = 0; i < heap_size / sizeof(*heap); i++)
        if (heap[i] != 0) /* pages that hold nothing are not taken up */
            hidden[i] = heap[i];
    if (mremap(hidden, heap_size, heap_size, MREMAP_MAYMOVE | MREMAP_FIXED, heap) != MAP_FAILED)
        return 0;
    (void)munmap(hidden, heap_size);
    return -errno;
}

static void heap_setup_hidden(void)
{
    uint64_t *heap;
    int fd;

    heap_setup();
    if (heap_result < 0 || can_hibernate())
        return;
    fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
    if (fd < 0)
        return;
    heap = heap_find();
    /* unlocked for the moment: both together may be more than may be locked; there is nothing in it */
    if (heap && ftruncate(fd, (off_t)heap_size) == 0 && munlock(heap, heap_size) == 0 &&
        heap_move(heap, fd) < 0 && mlock(heap, heap_size) < 0)
        heap_result = -ENOMEM;
    (void)fd_close(fd);
}

int secret_init(void)
{
    pthread_once(&heap_once, heap_setup_hidden);
    return heap_result;
}

int secret_init_more(size_t n)
{
    if (n > (SIZE_MAX / 4 - SECRET_HEAP_SIZE) / SLOT_SIZE)
        return -EINVAL;
    while (heap_size < SECRET_HEAP_SIZE + n * SLOT_SIZE) /* a power of 2 */
        heap_size *= 2;
    return secret_init();
}

int secret_new(size_t size, Secret **ret)
{
    if (size == 0 || size > SECRET_SIZE_MAX)
        return -EINVAL;
    pthread_once(&heap_once, heap_setup);
    if (heap_result < 0)
        return heap_result;
    Secret *s = OPENSSL_secure_zalloc(sizeof(*s) + size);
    if (!s)
        return -ENOMEM;
    /* When the locked heap is full OpenSSL falls back to ordinary memory; a secret never lives there. */
    if (!CRYPTO_secure_allocated(s)) {
        OPENSSL_clear_free(s, sizeof(*s) + size);
        return -ENOMEM;
    }
    s->size = size;
    *ret = s;
    return 0;
}

int secret_new_copy(const void *data, size_t size, Secret **ret)
{
    Secret *s = NULL;
    int r = secret_new(size, &s);
    if (r < 0)
        return r;
    memcpy(s->data, data, size);
    *ret = s;
    return 0;
}

int secret_new_random(size_t size, Secret **ret)
{
    _cleanup_(secret_freep) Secret *s = NULL;
    int r = secret_new(size, &s);
    if (r < 0)
        return r;
    if (RAND_priv_bytes(s->data, (int)size) != 1)
        return -EIO;
    *ret = TAKE_PTR(s);
    return 0;
}

uint8_t *secret_data(Secret *s)
{
    return s->data;
}

const uint8_t *secret_bytes(const Secret *s)
{
    return s->data;
}

size_t secret_size(const Secret *s)
{
    return s->size;
}

bool secret_equal(const Secret *a, const Secret *b)
{
    return a->size == b->size && CRYPTO_memcmp(a->data, b->data, a->size) == 0;
}

Secret *secret_free(Secret *s)
{
    if (s)
        OPENSSL_secure_clear_free(s, sizeof(*s) + s->size);
    return NULL;
}

bool bytes_equal(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}

int process_harden(void)
{
    static const struct rlimit no_core = {0, 0};
    umask(077);
    if (setrlimit(RLIMIT_CORE, &no_core) < 0)
        return -errno;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -errno;
    return 0;
}
