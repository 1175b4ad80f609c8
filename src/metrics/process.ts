// metrics: what every process tells of itself.
import { readdirSync } from "node:fs";
import { performance } from "node:perf_hooks";
import type { Source } from "./exposition.ts";
import type { Component } from "./table.ts";

/** Descriptors of this process; undefined where /proc is not mounted. */
function openFiles(): number | undefined {
  try {
    // One of them is the directory itself.
    return readdirSync("/proc/self/fd").length - 1;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

export const processSource =
  (component: Component, version: string): Source =>
  (emit) => {
    const { user, system } = process.cpuUsage();
    const { rss, heapUsed } = process.memoryUsage();
    emit("waggle_build_info", 1, component, version);
    emit("process_cpu_seconds_total", (user + system) / 1e6);
    emit("process_resident_memory_bytes", rss);
    emit("process_start_time_seconds", performance.timeOrigin / 1000);
    const files = openFiles();
    if (files !== undefined) emit("process_open_fds", files);
    emit("waggle_heap_used_bytes", heapUsed);
    emit("waggle_event_loop_busy_seconds_total", performance.eventLoopUtilization().active / 1000);
  };
