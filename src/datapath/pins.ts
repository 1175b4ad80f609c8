// datapath: where things are pinned: <bpffs>/waggle/<node>/<layout>/, its maps, and under it programs/ and links/.
import { existsSync, mkdirSync, readdirSync, rmdirSync, statfsSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { pinObject } from "../kernel/bpf.ts";
import { notBpffs } from "./messages.ts";

const BPF_FS_MAGIC = 0xcafe4a11;

/** A name as a bpffs takes it, which has no dots; injective. */
export const pinName = (name: string): string =>
  name.replace(/[^A-Za-z0-9_-]/g, (c) => `%${c.charCodeAt(0).toString(16).padStart(2, "0")}`);

/** Inverse of {@link pinName}. */
export const fromPinName = (pin: string): string =>
  pin.replace(/%([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));

/** The directory of all of a node's pins. */
export const nodeDirectory = (bpffs: string, node: string): string => join(bpffs, "waggle", pinName(node));

/** @throws Error with what to do about it, unless the path is on a bpffs */
export function assertBpffs(path: string): void {
  const exists = existsSync(path);
  if (!exists || statfsSync(path).type >>> 0 !== BPF_FS_MAGIC) throw new Error(notBpffs(path, exists));
}

/** The pins of one layout. */
export class PinTree {
  readonly directory: string;
  readonly layout: string;

  constructor(nodeDirectory: string, layout: string) {
    this.directory = join(nodeDirectory, layout);
    this.layout = layout;
  }

  create(): void {
    for (const directory of [this.directory, join(this.directory, "programs"), join(this.directory, "links")])
      mkdirSync(directory, { recursive: true, mode: 0o700 });
  }

  map(name: string): string {
    return join(this.directory, name);
  }

  program(name: string): string {
    return join(this.directory, "programs", name);
  }

  /** Pins a program in the place of another of its name; for a moment there is none. */
  replaceProgram(name: string, fd: number): void {
    const path = this.program(name);
    if (existsSync(path)) unlinkSync(path);
    pinObject(fd, path);
  }

  link(name: string): string {
    return join(this.directory, "links", pinName(name));
  }

  /** Names of the pinned links, as given to {@link link}. */
  links(): string[] {
    return list(join(this.directory, "links")).map(fromPinName);
  }

  /** Unpins everything. What nobody else holds is gone then: links detach, maps are freed. */
  remove(): void {
    for (const part of ["links", "programs", "."]) {
      const directory = join(this.directory, part);
      for (const name of list(directory)) unlinkSync(join(directory, name));
    }
    for (const part of ["links", "programs"]) removeDirectory(join(this.directory, part));
    removeDirectory(this.directory);
  }
}

const list = (directory: string): string[] =>
  existsSync(directory)
    ? readdirSync(directory, { withFileTypes: true }).flatMap((e) => (e.isDirectory() ? [] : [e.name]))
    : [];

function removeDirectory(directory: string): void {
  if (existsSync(directory)) rmdirSync(directory);
}

/** All layouts that a node has pins of. */
export function pinTrees(bpffs: string, node: string): PinTree[] {
  const directory = nodeDirectory(bpffs, node);
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { withFileTypes: true })
    .filter((e) => e.isDirectory())
    .map((e) => new PinTree(directory, e.name));
}

/** Removes the node's directory and the one above it, where they are empty. */
export function removeEmptyDirectories(bpffs: string, node: string): void {
  const directory = nodeDirectory(bpffs, node);
  if (existsSync(directory) && readdirSync(directory).length === 0) rmdirSync(directory);
  const waggle = join(bpffs, "waggle");
  if (existsSync(waggle) && readdirSync(waggle).length === 0) rmdirSync(waggle);
}
