/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/checks.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "agent/access.h"
#include "agent/confinement.h"
#include "agent/identity.h"
#include "agent/logind.h"
#include "libhmsg/base/clock.h"
#include "libhmsg/wire/limits.h"

#define YEAR_2026 INT64_C(1767225600) /* hmsg is not older */

int checks_append(sd_bus_message *reply, const char *name, const char *result, const char *text,
                  const char *help)
{
    return sd_bus_message_append(reply, "(ssss)", name, result, text, help ? help : "");
}

#define WEAK_KEYS                                                                                            \
    {                                                                                                        \
        "error", "This firmware makes weak RSA keys (CVE-2017-15361)",                                       \
            "Update the firmware of the TPM; identity create refuses such keys"                              \
    }

/* By ranges of TPM_PT_FIRMWARE_VERSION_1; that of Infineon (IFX) is major and minor, 16 bits each. */
static const struct {
    const char *manufacturer;
    uint32_t first, last;
    Finding finding;
} known[] = {
    {"IFX", 5u << 16, (5u << 16) + 61, WEAK_KEYS},
    {"IFX", 7u << 16, (7u << 16) + 61, WEAK_KEYS},
    {"IBM",
     0,
     UINT32_MAX,
     {"ok", "A TPM in software: it protects keys no better than the machine that runs it",
      "libtpms has CVE-2026-6727, the time of a failed RSA-OAEP, only where it was built without OpenSSL's "
      "RSA"}},
    {"MSFT",
     0,
     UINT32_MAX,
     {"ok", "A TPM of the maker of the reference code",
      "That code had CVE-2026-6727, the time of a failed RSA-OAEP: see that what runs it is up to date"}},
};

static bool is_of(const TpmFacts *f, const char *manufacturer)
{
    size_t n = strlen(manufacturer);

    /* blanks fill it up to four letters */
    return strncmp(f->manufacturer, manufacturer, n) == 0 &&
           f->manufacturer[n + strspn(f->manufacturer + n, " ")] == 0;
}

Finding checks_firmware(const TpmFacts *f)
{
    for (size_t i = 0; i < ELEMENTSOF(known); i++)
        if (is_of(f, known[i].manufacturer) && f->firmware[0] >= known[i].first &&
            f->firmware[0] <= known[i].last)
            return known[i].finding;
    return (Finding){"ok", "No fault of this firmware is known here", NULL};
}

Finding checks_signature(unsigned salt)
{
    if (salt == SHA256_SIZE)
        return (Finding){"ok", "The TPM signs with a salt of 32 bytes, which every program takes", NULL};
    return (Finding){
        "ok", "This firmware signs with the largest salt that there is room for, 222 bytes, as older ones do",
        "hmsg takes such signatures; programs that want 32 bytes, as many that read JSON Web Signatures "
        "do, refuse them until the firmware of the TPM is updated"};
}

/* Through the device itself a program that dies leaves the TPM's few places taken. */
static int check_resource_manager(const Manager *m, sd_bus_message *reply)
{
    if (strstr(m->places.tcti, "/dev/tpm") && !strstr(m->places.tcti, "/dev/tpmrm"))
        return checks_append(reply, "resource-manager", "warning",
                             "The agent uses the TPM without the kernel's resource manager",
                             "Name /dev/tpmrm0 in HMSG_TCTI, or leave that away");
    return 0;
}

static int check_bus(const Manager *m, sd_bus_message *reply)
{
    if (!m->bus || sd_bus_is_ready(m->bus) <= 0)
        return checks_append(reply, "bus", "error", "The session bus is away", "Log in anew");
    if (sd_bus_can_send(m->bus, SD_BUS_TYPE_UNIX_FD) <= 0)
        return checks_append(reply, "bus", "error", "The session bus passes no descriptors",
                             "Use dbus-daemon or dbus-broker on a socket of the machine");
    return checks_append(reply, "bus", "ok", "The session bus has the agent's name, and passes descriptors",
                         NULL);
}

static int check_logind(const Manager *m, sd_bus_message *reply)
{
    if (!m->logind || !logind_is_there(m->logind))
        return checks_append(
            reply, "logind", "warning",
            "Suspend, a locked screen and logout are not noticed: systemd-logind is not there",
            "Session keys stay until they expire or hmsgctl lock is called; see agent.conf(5), [lock]");
    return checks_append(reply, "logind", "ok", "Suspend, a locked screen and logout are noticed", NULL);
}

/* Everybody may read this file, but nobody whose files are restricted to those of agent/sandbox.c. */
static bool has_landlock(void)
{
    _cleanup_(fd_closep) int fd = open("/proc/version", O_RDONLY | O_CLOEXEC);

    return fd < 0 && errno == EACCES;
}

static int check_sandbox(sd_bus_message *reply)
{
    if (prctl(PR_GET_DUMPABLE) != 0)
        return checks_append(reply, "sandbox", "error",
                             "Other programs of this user may read the agent's memory",
                             "Start it anew; see hmsg-agent(1)");
    if (prctl(PR_GET_SECCOMP) != SECCOMP_MODE_FILTER)
        return checks_append(reply, "sandbox", "error",
                             "The agent is not kept from calls that it does not need",
                             "See that the kernel has seccomp, and start it anew");
    if (!has_landlock())
        return checks_append(reply, "sandbox", "warning",
                             "The agent is not kept from other files: the kernel has no Landlock",
                             "Use Linux 5.19 or later, with landlock among the lsm= of its command line");
    return checks_append(
        reply, "sandbox", "ok",
        "The agent cannot be traced; it is kept from other files and from calls that it does not need", NULL);
}

static int check_selinux(const Manager *m, sd_bus_message *reply)
{
    if (!access_is_confined(m->access))
        return checks_append(reply, "selinux", "ok",
                             "SELinux is off: hmsgctl access alone decides about programs", NULL);
    if (!confinement_complete())
        return checks_append(reply, "selinux", "error", "The policy does not know the class hmsg",
                             "Install it: semodule -i hmsg-class.cil -i hmsg.pp; see selinux.md");
    return checks_append(reply, "selinux", "ok", "The policy decides which program may ask for what", NULL);
}

static int check_clock(const Manager *m, sd_bus_message *reply)
{
    const IdentityPublic *p = identity_public(m->identity);
    int64_t now = clock_realtime();

    if (now < YEAR_2026 || (p && now < p->created))
        return checks_append(
            reply, "clock", "error",
            p && now < p->created ? "The clock is behind: the keys were made later than now"
                                  : "The clock is years behind",
            "Set it, for instance with timedatectl set-ntp true; relays and contacts refuse what "
            "is not of their time");
    return checks_append(reply, "clock", "ok", "The clock is not behind", NULL);
}

int checks_append_machine(const Manager *m, sd_bus_message *reply)
{
    int r;

    r = check_resource_manager(m, reply);
    if (r >= 0)
        r = check_bus(m, reply);
    if (r >= 0)
        r = check_logind(m, reply);
    if (r >= 0)
        r = check_sandbox(reply);
    if (r >= 0)
        r = check_selinux(m, reply);
    return r >= 0 ? check_clock(m, reply) : r;
}
