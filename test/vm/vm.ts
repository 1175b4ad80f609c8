// test, vm: another kernel than the machine's: Debian 12's 6.1 in QEMU, on this machine's own root, running one shell script.
import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const here = import.meta.dirname;
/** The checkout, which is the guest's working directory. */
export const checkout = join(here, "../..");

interface Assets {
  /** Directory with `vmlinux` and `lib/modules`. */
  readonly kernel: string;
  readonly initramfs: string;
}

function findAssets(): Assets | string {
  const done = spawnSync(join(here, "prepare.sh"), ["--offline"], { encoding: "utf8" });
  if (done.status !== 0) return (done.stderr || done.error?.message || "prepare.sh failed").trim();
  const [kernel = "", initramfs = ""] = done.stdout.trim().split("\n");
  return { kernel, initramfs };
}

const assets = findAssets();

/** Whether VMs can be booted here, and for a test's name what is missing. */
export const canBoot = typeof assets !== "string";
export const how = canBoot ? "in QEMU" : `skipped: ${assets}`;

export interface VmOptions {
  /** The guest's memory, which also holds what it writes outside of its work directory. */
  readonly memoryMb: number;
  /** Shell script. It runs as root in the checkout, with this Node first on PATH. */
  readonly run: string;
  /** From the start of QEMU to its end. Everything is emulated: a start of Node takes seconds. */
  readonly timeoutMs: number;
  /** Default 1. */
  readonly cpus?: number;
}

export interface VmResult {
  /** The script's. */
  readonly exitCode: number;
  /** What it wrote to stdout and stderr. */
  readonly output: string;
  /** What the kernel wrote to its console. */
  readonly console: string;
}

/** The guest did not get to the end of its script: it crashed, hung, or did not start. The message ends in its last words. */
export class VmError extends Error {
  constructor(what: string, output: string, console: string) {
    const tail = (text: string) => text.split("\n").slice(-25).join("\n");
    super(`${what}\n--- console ---\n${tail(console)}\n--- output ---\n${tail(output)}`);
    this.name = "VmError";
  }
}

const quote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** One VM at a time on a machine, whoever starts it: each takes a core and half a gigabyte or more. */
const longestWaitSeconds = 1800;
/** Exit codes of flock(1) and timeout(1) that we choose or that they have. */
const lockTaken = 75;
const timedOut = 124;

/**
 * A panic is a reboot, which ends QEMU. The emulated TSC is measured against timers while the host may have taken the processor
 * away: a guest that trusts it has had a clock ten times too fast.
 */
const kernelOptions =
  "console=ttyS0 loglevel=5 panic=-1 mitigations=off random.trust_cpu=on no_timer_check tsc=unstable clocksource=hpet";

function qemu(found: Assets, work: string, { memoryMb, cpus }: VmOptions): string[] {
  const share = (name: string, path: string, more: string) => [
    "-fsdev",
    `local,id=${name},path=${path},security_model=none,multidevs=remap${more}`,
    "-device",
    `virtio-9p-pci,fsdev=${name},mount_tag=${name}`,
  ];
  return [
    "qemu-system-x86_64",
    ...["-nodefaults", "-no-user-config", "-no-reboot"],
    ...["-display", "none", "-serial", "stdio", "-nic", "none"],
    ...["-machine", "q35", "-accel", "tcg,thread=multi,tb-size=256"],
    // Five levels of page tables only make the emulation slower.
    ...["-cpu", "max,-la57", "-smp", String(cpus ?? 1), "-m", String(memoryMb)],
    ...["-kernel", join(found.kernel, "vmlinux"), "-initrd", found.initramfs],
    ...["-append", kernelOptions],
    ...["-device", "virtio-rng-pci"],
    ...share("root", "/", ",readonly=on"),
    ...share("work", work, ""),
  ];
}

function readIfAny(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/**
 * Boots, runs the script, switches off. Waits while another VM runs.
 * @throws VmError where the script's end is not known; Error where VMs cannot be booted
 */
export async function bootVm(options: VmOptions): Promise<VmResult> {
  if (typeof assets === "string") throw new Error(assets);
  const work = mkdtempSync(join(tmpdir(), "waggle-vm-"));
  try {
    copyFileSync(join(here, "guest.sh"), join(work, "guest.sh"));
    writeFileSync(join(work, "run.sh"), options.run);
    const settings = {
      modules: join(assets.kernel, "lib/modules"),
      directory: checkout,
      path: dirname(process.execPath),
    };
    writeFileSync(
      join(work, "settings"),
      Object.entries(settings)
        .map(([name, value]) => `${name}=${quote(value)}\n`)
        .join(""),
    );
    const lock = join(dirname(assets.kernel), "lock");
    const seconds = Math.ceil(options.timeoutMs / 1000);
    const command = [
      ...["-w", String(longestWaitSeconds), "-E", String(lockTaken), lock],
      // Ends the VM even if nobody is left to wait for it.
      ...["timeout", "-k", "5", String(seconds)],
      ...qemu(assets, work, options),
    ];
    const { code, text } = await run("flock", command);
    const output = readIfAny(join(work, "output")) ?? "";
    const exit = readIfAny(join(work, "exit-code"))?.trim();
    if (code === lockTaken) throw new VmError(`another VM ran for ${longestWaitSeconds} s`, output, text);
    if (code === timedOut) throw new VmError(`the guest took more than ${seconds} s`, output, text);
    if (!exit) throw new VmError(`the guest ended before its script (QEMU: ${code})`, output, text);
    return { exitCode: Number(exit), output, console: text };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Console of a guest that only repeats itself. */
const longestConsole = 1 << 20;

function run(program: string, args: readonly string[]): Promise<{ code: number | null; text: string }> {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
  const kill = () => child.kill("SIGTERM");
  process.once("exit", kill);
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (more: string) => {
      text = (text + more.replaceAll("\r", "")).slice(-longestConsole);
    });
  }
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => {
      process.off("exit", kill);
      resolve({ code, text });
    });
  });
}
