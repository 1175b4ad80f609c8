// differential tests: probes on a workload whose calls are known.

import { SYS } from "../workload.ts";
import type { Case } from "./case.ts";

const here = `comm == "WORKNAME"`;
/** bpftrace finds names of a process that is still there when it prints, which the workload seldom is. */
const unnamed = (text: string): string =>
  text
    .replaceAll(/(\b[0-9a-f]{6}) \w+\+\d+ \(WORKLOAD\)/g, "$1 0x$1 ([unknown])")
    .replaceAll(/\bfirst\+0\b/g, "0x4000b0");
const priorities = [1, 2, 3, 4, 5].map((who) => ({ call: SYS.getpriority, with: [0, who] }));

export const probes: readonly Case[] = [
  {
    name: "arguments of system calls",
    unordered: true,
    program: `tracepoint:syscalls:sys_enter_getpriority /${here}/ { printf("%d %d\\n", args->which, args->who); @[args->who] = count(); @s = sum(args->who); @h = hist(args->who); @l = lhist(args->who, 0, 10, 2); @a = avg(args->who); }`,
    workload: priorities,
    json: true,
  },
  {
    name: "negative arguments",
    program: `tracepoint:syscalls:sys_enter_getpriority /${here}/ { printf("%d %u %d\\n", args->which, args->which, args->who); @[args->which] = count(); @m = min(args->which); @s = sum(args->which); if (args->which < 0) { @neg++; } }`,
    workload: [{ call: SYS.getpriority, with: [-1, -2] }],
    json: true,
  },
  {
    name: "return values",
    program: `tracepoint:syscalls:sys_exit_openat /${here}/ { printf("%d\\n", args->ret); @[args->ret] = count(); @h = hist(args->ret); @l = lhist(args->ret, 0, 10, 5); @min = min(args->ret); @avg = avg(args->ret); @stats = stats(args->ret); @sum = sum(args->ret); @max = max(args->ret); }`,
    workload: [{ call: SYS.openat, with: [-100, { text: "/nothing" }, 0, 0], times: 2 }],
    json: true,
  },
  {
    name: "wildcards and probe",
    unordered: true,
    program: `tracepoint:syscalls:sys_enter_getp*id /${here}/ { @[probe] = count(); } tracepoint:syscalls:sys_exit_getppid, tracepoint:syscalls:sys_enter_getpriority /${here}/ { @two[probe] = count(); }`,
    workload: [{ call: SYS.getppid, times: 3 }, { call: SYS.getpid, times: 2 }, ...priorities],
    json: true,
  },
  {
    name: "pid, tid, cpid",
    program: `tracepoint:syscalls:sys_enter_getppid /pid == cpid/ { printf("%d %d\\n", pid == tid, pid == cpid); @[pid == cpid] = count(); }`,
    workload: [{ call: SYS.getppid, times: 2 }],
  },
  {
    name: "latency idiom",
    program: `tracepoint:syscalls:sys_enter_getppid /${here}/ { @start[tid] = nsecs; } tracepoint:syscalls:sys_exit_getppid /@start[tid]/ { $d = nsecs - @start[tid]; @n = count(); if ($d > 0) { @positive = count(); } delete(@start[tid]); }`,
    workload: [{ call: SYS.getppid, times: 4 }],
  },
  {
    name: "probe with several points",
    program: `t:syscalls:sys_enter_getppid, t:syscalls:sys_enter_getpid /${here}/ { @ = count(); }`,
    workload: [
      { call: SYS.getppid, times: 3 },
      { call: SYS.getpid, times: 2 },
    ],
  },
  {
    name: "raw system calls",
    unordered: true,
    program: `tracepoint:raw_syscalls:sys_enter /${here}/ { @[args->id] = count(); @args[args->id] = sum(args->args[1]); }`,
    workload: priorities,
    json: true,
  },
  {
    name: "sched fields",
    program: `tracepoint:sched:sched_process_exit /${here}/ { printf("%s %d\\n", args->comm, args->prio); @[args->comm] = count(); }`,
    workload: [{ call: SYS.getppid }],
    json: true,
  },
  {
    name: "data_loc strings",
    program: `tracepoint:sched:sched_process_exec /${here}/ { printf("%s\\n", str(args->filename)); @[str(args->filename)] = count(); }`,
    workload: [{ call: SYS.getppid }],
  },
  {
    name: "common fields",
    program: `tracepoint:syscalls:sys_enter_getppid /${here}/ { @ = count(); printf("%d\\n", args->__syscall_nr); }`,
    workload: [{ call: SYS.getppid }],
  },
  {
    name: "uprobes",
    unordered: true,
    program: `uprobe:WORKLOAD:first { printf("%d %d %d %d\\n", arg0, arg1, arg2, arg3); @[probe] = count(); } uretprobe:WORKLOAD:first { @r = sum(retval); printf("ret %d\\n", retval); } u:WORKLOAD:sec* { @w[probe] = count(); @f[func] = count(); }`,
    workload: [
      { function: "first", with: [10, -2, 3, 4], times: 3 },
      { function: "second", with: [1] },
    ],
    same: (t) => t.replaceAll(/\/\S*workload/g, "WORKLOAD"),
    json: true,
  },
  {
    name: "arguments as keys",
    program: `uprobe:WORKLOAD:first { @a[arg1] = 1; @v = arg1; @n[1, "x", arg1] = 5; @k[(uint32)arg1] = 1; }`,
    workload: [{ function: "first", with: [10, -2], times: 2 }],
    json: true,
  },
  {
    name: "uprobe with an offset",
    differs: "uprobe with an offset",
    program: `uprobe:WORKLOAD:first+4 { @ = count(); } uprobe:WORKLOAD:0x4000b0 { @a = count(); }`.replace(
      " uprobe:WORKLOAD:0x4000b0 { @a = count(); }",
      "",
    ),
    workload: [{ function: "first", with: [10], times: 3 }],
  },
  {
    name: "ustack",
    same: unnamed,
    program: `uprobe:WORKLOAD:first { @[ustack(1)] = count(); printf("%s|\\n", ustack(1)); }`,
    workload: [{ function: "first", with: [1], times: 2 }],
  },
  {
    name: "ustack, perf",
    same: unnamed,
    program: `uprobe:WORKLOAD:first { @[ustack(perf, 1)] = count(); printf("%s|\\n", ustack(perf)); }`,
    workload: [{ function: "first", with: [1], times: 2 }],
  },
  {
    name: "kstack",
    program: `tracepoint:syscalls:sys_enter_getppid /${here}/ { @[kstack] = count(); @two[kstack(2)] = count(); printf("%s|\\n", kstack(3)); }`,
    workload: [{ call: SYS.getppid, times: 2 }],
  },
  {
    name: "kstack, perf",
    program: `tracepoint:syscalls:sys_enter_getppid /${here}/ { @[kstack(perf)] = count(); printf("%s|\\n", kstack(perf, 2)); }`,
    workload: [{ call: SYS.getppid, times: 2 }],
    same: (t) => t.replaceAll(/[0-9a-f]{16}/g, "ADDRESS"),
  },
  {
    name: "kstack with another key",
    program: `tracepoint:syscalls:sys_enter_getppid /${here}/ { @[kstack(2), comm] = count(); @b["x", kstack(1)] = count(); @v = kstack(1); }`,
    workload: [{ call: SYS.getppid, times: 2 }],
  },
  {
    name: "curtask",
    unordered: true,
    program: `tracepoint:syscalls:sys_enter_getppid /${here}/ { $t = (struct task_struct *)curtask; printf("%d %d %s %d\\n", $t->pid == tid, $t->tgid == pid, $t->comm, $t->real_parent->tgid > 0); @[$t->comm] = count(); @n = $t->nsproxy->uts_ns->name.sysname; }`,
    workload: [{ call: SYS.getppid }],
    json: true,
  },
  {
    name: "structs",
    program: `struct pair { int a; int b; char name[8]; }; tracepoint:syscalls:sys_enter_write /${here}/ { $p = (struct pair *)args->buf; printf("%d %d %s\\n", $p->a, $p->b, $p->name); @[$p->a] = $p->b; }`,
    workload: [{ call: SYS.write, with: [99, { text: "\x05\0\0\0\x07\0\0\0name" }, 12] }],
  },
  {
    name: "arrays and bitfields",
    program: `struct bits { unsigned int a:3; unsigned int b:5; unsigned char c[4]; int d[2]; }; tracepoint:syscalls:sys_enter_write /${here}/ { $p = (struct bits *)args->buf; printf("%d %d %d %d %d\\n", $p->a, $p->b, $p->c[0], $p->c[3], $p->d[1]); }`,
    workload: [{ call: SYS.write, with: [99, { text: "\x2d\0\0\0abcd\x01\0\0\0\x09\0\0\0" }, 16] }],
  },
  {
    name: "pointers",
    program: `struct pair { int a; int b; }; tracepoint:syscalls:sys_enter_write /${here}/ { $p = (struct pair *)args->buf; $q = $p + 1; printf("%d %d %d\\n", $q->a, *(int8 *)args->buf, ((struct pair *)args->buf)->b); $i = (int32 *)args->buf; printf("%d %d\\n", *$i, *($i + 1)); }`,
    workload: [{ call: SYS.write, with: [99, { text: "\x05\0\0\0\x07\0\0\0\x09\0\0\0\x0b\0\0\0" }, 16] }],
  },
  {
    name: "interval",
    program: `interval:ms:20 { @++; if (@ <= 3) { printf("tick\\n"); } if (@ == 3) { exit(); } } END { clear(@); }`,
  },
  {
    name: "interval prints",
    program: `interval:ms:20 { @t++; if (@t == 2) { @two = @t; print(@two); printf("two\\n"); exit(); } } END { clear(@t); }`,
  },
  {
    name: "END after probes",
    program: `tracepoint:syscalls:sys_enter_getppid /${here}/ { @ = count(); } END { printf("end\\n"); print(@); clear(@); }`,
    workload: [{ call: SYS.getppid, times: 5 }],
  },
  {
    name: "exit in a probe",
    program: `tracepoint:syscalls:sys_enter_getpriority /${here}/ { printf("%d\\n", args->who); if (args->who == 3) { exit(); } }`,
    workload: priorities.slice(0, 3),
  },
  {
    name: "positional parameters",
    program: `BEGIN { printf("%d %s %d %s %d\\n", $1, str($2), $3, str($4), $#); @ = $1 + 1; exit(); }`,
    arguments: ["42", "hello"],
  },
  {
    name: "positional parameters in probes",
    program: `tracepoint:syscalls:sys_enter_$1 /${here}/ { @[$2] = count(); }`,
    arguments: ["getppid", "7"],
    workload: [{ call: SYS.getppid, times: 2 }],
  },
  {
    name: "hexadecimal parameters",
    program: `BEGIN { printf("%d %d\\n", $1, $2); exit(); }`,
    arguments: ["0x1f", "7"],
  },
  {
    name: "nobody's probes",
    program: `tracepoint:syscalls:sys_enter_getppid /pid == 1/ { @ = count(); }`,
    workload: [{ call: SYS.getppid, times: 2 }],
  },
  {
    name: "software",
    program:
      `software:page-faults:1 /${here}/ { @ = count(); } END { if (@ > 0) { printf("some\\n"); } clear(@); }`.replace(
        'if (@ > 0) { printf("some\\n"); } ',
        "",
      ),
    workload: [{ call: SYS.getppid }],
  },
  {
    name: "profile",
    program: `profile:hz:99 { @ = count(); } interval:ms:100 { exit(); } END { clear(@); }`,
  },
  {
    name: "cpu and others",
    program: `tracepoint:syscalls:sys_enter_getppid /${here}/ { printf("%d %d %d %d\\n", cpu < 64, nsecs > 0, elapsed > 0, rand >= 0); printf("%d %d\\n", cgroup > 0, curtask > 0); @[comm, uid] = count(); }`,
    workload: [{ call: SYS.getppid }],
  },
  {
    name: "functions that a file does not have",
    program: `BEGIN { printf("x\\n"); exit(); } uprobe:/bin/bash:no_such_function { exit(); } usdt:/bin/bash:no:such { exit(); }`,
  },
  { name: "nothing to attach", program: `uprobe:/bin/bash:no_such_function { exit(); }`, json: true },
  { name: "no such counter", program: `hardware:nonsense:1 { exit(); }`, error: true },
  {
    name: "NDJSON of a whole run",
    program: `BEGIN { printf("start\\n"); } tracepoint:syscalls:sys_enter_getpriority /${here}/ { @[args->who] = hist(args->who); @c = count(); } END { print(@c); }`,
    workload: priorities,
    json: true,
  },
];
