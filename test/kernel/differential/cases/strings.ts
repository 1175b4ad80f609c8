// differential tests: strings, buffers, functions that make text.

import { SYS } from "../workload.ts";
import type { Case } from "./case.ts";

const begin = (body: string): string => `BEGIN { ${body} exit(); }`;
const open = (path: string, times = 1) => ({ call: SYS.openat, with: [-100, { text: path }, 0, 0], times });

export const strings: readonly Case[] = [
  {
    name: "comparison of strings",
    program: begin(
      `$s = "hello"; printf("%d %d %d %d\\n", $s == "hello", $s == "hell", $s != "hello", "a" == "a"); if ($s == "hello") { printf("eq\\n"); }`,
    ),
  },
  {
    name: "strncmp",
    program: begin(
      `printf("%d %d %d\\n", strncmp("hello", "help", 3) == 0, strncmp("hello", "help", 4) == 0, strncmp("a", "b", 1) == 0);`,
    ),
  },
  {
    name: "strings of 64 and more",
    program: begin(
      `@a = "0123456789012345678901234567890123456789012345678901234567890"; printf("%s\\n", "0123456789012345678901234567890123456789012345678901234567890");`,
    ),
  },
  {
    name: "str of a path",
    program: `tracepoint:syscalls:sys_enter_openat /comm == "WORKNAME"/ { printf("%s\\n", str(args->filename)); @[str(args->filename)] = count(); }`,
    workload: [open("/nothing/here"), open("/a", 2)],
    json: true,
  },
  {
    name: "str with a length",
    program: `tracepoint:syscalls:sys_enter_openat /comm == "WORKNAME"/ { printf("[%s] [%s] [%s]\\n", str(args->filename, 5), str(args->filename, 1), str(args->filename, 64)); @[str(args->filename, 4)] = count(); }`,
    workload: [open("/nothing/here")],
  },
  {
    name: "str of a long path",
    unordered: true,
    program: `tracepoint:syscalls:sys_enter_openat /comm == "WORKNAME"/ { printf("%s\\n", str(args->filename)); @[str(args->filename)] = count(); }`,
    workload: [
      open(`/${"x".repeat(100)}`),
      open(`/${"y".repeat(61)}`),
      open(`/${"z".repeat(62)}`),
      open(`/${"w".repeat(63)}`),
    ],
  },
  {
    name: "str of nothing",
    program: `tracepoint:syscalls:sys_enter_openat /comm == "WORKNAME"/ { printf("[%s]\\n", str(args->filename)); }`,
    workload: [
      { call: SYS.openat, with: [-100, 0, 0, 0] },
      { call: SYS.openat, with: [-100, 0x1234, 0, 0] },
    ],
  },
  {
    name: "str compared",
    program: `tracepoint:syscalls:sys_enter_openat /str(args->filename) == "/nothing/here"/ { @++; } tracepoint:syscalls:sys_enter_openat /comm == "WORKNAME"/ { if (str(args->filename) != "/a") { @other++; } if (!strncmp(str(args->filename), "/no", 3)) { @prefix++ } }`,
    workload: [open("/nothing/here", 3), open("/a")],
  },
  {
    name: "comm compared with a prefix",
    program: `tracepoint:syscalls:sys_enter_getppid /comm == "WORK"/ { @a++; } tracepoint:syscalls:sys_enter_getppid /comm == "WORKNAME" && comm != "WORK"/ { @b++; } tracepoint:syscalls:sys_enter_getppid /strncmp(comm, "WORK", 2) == 0/ { @c++; }`,
    workload: [{ call: SYS.getppid, times: 3 }],
  },
  {
    name: "buf",
    program: `tracepoint:syscalls:sys_enter_write /comm == "WORKNAME"/ { printf("%r\\n", buf(args->buf, args->count)); printf("%r\\n", buf(args->buf, 3)); @[buf(args->buf, 4)] = count(); }`,
    workload: [{ call: SYS.write, with: [99, { text: "a\tb\x01\x7f z\"'\\" }, 10] }],
    json: true,
  },
  {
    name: "buf as hex",
    program: `tracepoint:syscalls:sys_enter_write /comm == "WORKNAME"/ { printf("%rx|%rh\\n", buf(args->buf, 4), buf(args->buf, 3)); }`,
    workload: [{ call: SYS.write, with: [99, { text: "abcd" }, 4] }],
  },
  {
    name: "buf of nothing",
    program: `tracepoint:syscalls:sys_enter_write /comm == "WORKNAME"/ { printf("[%r]\\n", buf(args->buf, args->count)); }`,
    workload: [{ call: SYS.write, with: [99, { text: "abcd" }, 0] }],
  },
  {
    name: "join",
    unordered: true,
    program: `tracepoint:syscalls:sys_enter_execve /pid == cpid/ { join(args->argv); join(args->argv, ","); }`,
    flags: ["-c", "/bin/echo one two three"],
    json: true,
  },
  {
    name: "join of a workload",
    program: `tracepoint:syscalls:sys_enter_execve /comm == "WORKNAME"/ { join(args->argv); printf("-%s-\\n", str(args->filename)); }`,
    workload: [{ call: SYS.execve, with: [{ text: "/nothing" }, 0, 0] }],
  },
  {
    name: "ntop of numbers",
    program: begin(`printf("%s %s\\n", ntop(0x0100007f), ntop(2, 0x0101a8c0)); @[ntop(0x0200000a)] = 1;`),
    json: true,
  },
  {
    name: "strftime of a shape",
    program: begin(
      `printf("%s\\n", strftime("%Y-%m-%d %H:%M:%S", nsecs)); $t = nsecs; @t = strftime("%H", $t);`,
    ),
    same: (t) => t.replace(/\d/g, "0"),
  },
  {
    name: "time of a shape",
    program: begin(`time("%H:%M:%S\\n"); time(); time("x%%y\\n");`),
    same: (t) => t.replace(/\d/g, "0"),
    json: true,
  },
  {
    name: "username",
    program: `tracepoint:syscalls:sys_enter_getppid /comm == "WORKNAME"/ { printf("%s %d %d\\n", username, uid, gid); @[username] = count(); }`,
    workload: [{ call: SYS.getppid }],
  },
  {
    name: "ksym",
    program: begin(`printf("%s\\n", ksym(kaddr("vfs_read"))); @[ksym(kaddr("vfs_read"))] = 1;`),
    json: true,
  },
  { name: "usym of nobody", program: begin(`printf("%s\\n", usym(0x1234));`) },
  {
    name: "strings in tuples",
    program: begin(`@[1] = ("a", "bc"); $t = ("x", 5); printf("%s %d\\n", $t.0, $t.1);`),
    json: true,
  },
  {
    name: "a string assigned to a variable twice",
    program: begin(`$s = "abc"; $s = "de"; printf("%s\\n", $s);`),
  },
  {
    name: "cat",
    program: begin(`cat("/proc/sys/kernel/ostype"); cat("/proc/sys/kernel/%s", "ostype");`),
    flags: ["--unsafe"],
    json: true,
  },
  { name: "system", program: begin(`system("echo %s %d", "hello", 5);`), flags: ["--unsafe"], json: true },
  {
    name: "macaddr",
    program: `tracepoint:syscalls:sys_enter_write /comm == "WORKNAME"/ { printf("%s\\n", macaddr(args->buf)); }`,
    workload: [{ call: SYS.write, with: [99, { text: "\x02\x11\x22\x33\x44\x55" }, 6] }],
  },
  {
    name: "strcontains",
    program: begin(`printf("%d %d\\n", strcontains("hello", "ell"), strcontains("hello", "xyz"));`),
  },
  { name: "signal is unsafe", program: begin(`signal("KILL");`), error: true },
  { name: "system is unsafe", program: begin(`system("id");`), error: true },
  {
    name: "bswap",
    program: begin(
      `printf("%x %x %x\\n", bswap((uint16)0x1234), bswap((uint32)0x12345678), bswap((uint64)0x123456789abcdef0));`,
    ),
  },
  {
    name: "strings in JSON",
    program: begin(
      `@["q\\"uote"] = "back\\\\slash"; @["tab\\t"] = "nl\\n"; printf("x\\ty\\"z\\n"); print("a\\nb");`,
    ),
    json: true,
  },
  { name: "a literal of many bytes", program: begin(`printf("%s|%s\\n", "tschüß", "日本");`) },
];
