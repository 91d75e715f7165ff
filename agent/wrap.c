/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/mman.h>

#include "agent/wrap.h"

#define POOL_PAGE_SIZE (64u * 1024u)

typedef union Cell {
    union Cell *next; /* while free */
    Wrapped wrapped;
} Cell;

typedef struct Page {
    struct Page *next;
    Cell cells[];
} Page;

#define CELLS_PER_PAGE ((POOL_PAGE_SIZE - sizeof(Page)) / sizeof(Cell))

struct WrapPool {
    EVP_CIPHER *gcm;
    EVP_CIPHER_CTX *ctx;
    Page *pages;
    Cell *free_cells;
};

int wrap_pool_new(WrapPool **ret)
{
    _cleanup_(wrap_pool_freep) WrapPool *p = calloc(1, sizeof(*p));

    if (!p)
        return -ENOMEM;
    p->gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    p->ctx = EVP_CIPHER_CTX_new();
    if (!p->gcm || !p->ctx)
        return -ENOMEM;
    *ret = TAKE_PTR(p);
    return 0;
}

WrapPool *wrap_pool_free(WrapPool *p)
{
    if (!p)
        return NULL;
    while (p->pages) {
        Page *next = p->pages->next;

        bytes_wipe(p->pages, POOL_PAGE_SIZE);
        munmap(p->pages, POOL_PAGE_SIZE);
        p->pages = next;
    }
    EVP_CIPHER_CTX_free(p->ctx);
    EVP_CIPHER_free(p->gcm);
    free(p);
    return NULL;
}

static int pool_grow(WrapPool *p)
{
    Page *page;

    page = mmap(NULL, POOL_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return -ENOMEM;
    /* What lies here is encrypted: a low limit of locked memory is no reason to forget sessions. */
    (void)mlock(page, POOL_PAGE_SIZE);
    (void)madvise(page, POOL_PAGE_SIZE, MADV_DONTDUMP);
    page->next = p->pages;
    p->pages = page;
    for (size_t i = 0; i < CELLS_PER_PAGE; i++) {
        page->cells[i].next = p->free_cells;
        p->free_cells = &page->cells[i];
    }
    return 0;
}

int wrap_seal(WrapPool *p, const Secret *kek, uint64_t id, const uint8_t plain[static WRAP_PLAIN_SIZE],
              Wrapped **ret)
{
    Wrapped *w;
    Cell *cell;
    int n, r;

    if (!p->free_cells) {
        r = pool_grow(p);
        if (r < 0)
            return r;
    }
    cell = p->free_cells;
    p->free_cells = cell->next;
    w = &cell->wrapped;
    if (RAND_bytes(w->nonce, sizeof(w->nonce)) != 1 ||
        EVP_EncryptInit_ex2(p->ctx, p->gcm, secret_bytes(kek), w->nonce, NULL) != 1 ||
        EVP_EncryptUpdate(p->ctx, NULL, &n, (const uint8_t *)&id, sizeof(id)) != 1 ||
        EVP_EncryptUpdate(p->ctx, w->data, &n, plain, WRAP_PLAIN_SIZE) != 1 ||
        EVP_EncryptFinal_ex(p->ctx, w->data + WRAP_PLAIN_SIZE, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(p->ctx, EVP_CTRL_GCM_GET_TAG, WRAP_TAG_SIZE, w->tag) != 1) {
        wrap_drop(p, w);
        EVP_CIPHER_CTX_reset(p->ctx);
        return -EIO;
    }
    EVP_CIPHER_CTX_reset(p->ctx); /* wipes the key schedule */
    *ret = w;
    return 0;
}

int wrap_open(WrapPool *p, const Secret *kek, uint64_t id, const Wrapped *w, Secret *ret)
{
    uint8_t tag[WRAP_TAG_SIZE];
    int n, r = 0;

    memcpy(tag, w->tag, sizeof(tag));
    if (secret_size(ret) != WRAP_PLAIN_SIZE)
        return -EINVAL;
    if (EVP_DecryptInit_ex2(p->ctx, p->gcm, secret_bytes(kek), w->nonce, NULL) != 1 ||
        EVP_DecryptUpdate(p->ctx, NULL, &n, (const uint8_t *)&id, sizeof(id)) != 1 ||
        EVP_DecryptUpdate(p->ctx, secret_data(ret), &n, w->data, WRAP_PLAIN_SIZE) != 1 ||
        EVP_CIPHER_CTX_ctrl(p->ctx, EVP_CTRL_GCM_SET_TAG, sizeof(tag), tag) != 1 ||
        EVP_DecryptFinal_ex(p->ctx, secret_data(ret) + WRAP_PLAIN_SIZE, &n) != 1) {
        bytes_wipe(secret_data(ret), secret_size(ret));
        r = -EBADMSG;
    }
    EVP_CIPHER_CTX_reset(p->ctx);
    return r;
}

Wrapped *wrap_drop(WrapPool *p, Wrapped *w)
{
    Cell *cell = (Cell *)w;

    if (!w)
        return NULL;
    bytes_wipe(cell, sizeof(*cell));
    cell->next = p->free_cells;
    p->free_cells = cell;
    return NULL;
}
