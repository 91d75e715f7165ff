/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What benchmarks share: the clock, order statistics, facts of a process, and how a result is told. A missed
 * bar fails nothing, since a busy machine is no fault of the program; what cannot be measured does. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/lib/process.h"

/* Microseconds. */
double bench_now(void);
/* Sorts times[n], n > 0. */
double bench_median(double *times, size_t n);
double bench_best(const double *times, size_t n);

/* Prints "what: value unit, bar <= (or >=) so much: met" or MISSED. */
void bench_at_most(const char *what, double value, double bar, const char *unit);
void bench_at_least(const char *what, double value, double bar, const char *unit);

/* A line of /proc/PID/status that is in KiB, such as "VmRSS". */
uint64_t bench_status_kib(int pid, const char *line);
/* VmHWM begins anew; false where that is not allowed: agents are not dumpable, only root may. */
bool bench_reset_peak(int pid);

/* $name as a number, else the default. */
unsigned bench_setting(const char *name, unsigned otherwise);

/* Runs argv to its end, which must be well, and returns how long that took in microseconds. */
double bench_run(const char *const argv[], const char *const environment[]);
/* From now on we, and what we start, come before other programs (SCHED_RR), when we may: else false. */
bool bench_go_ahead(void);
