// cli: a tar archive (POSIX.1-1988 ustar) of small files, made in memory.

export interface TarEntry {
  /** With slashes; at most 255 bytes. */
  readonly path: string;
  readonly data: Uint8Array;
}

const blockBytes = 512;

/** Splits a path into the header's prefix (155 bytes) and name (100). @throws RangeError where it does not fit */
function split(path: string): { readonly name: string; readonly prefix: string } {
  if (Buffer.byteLength(path) <= 100) return { name: path, prefix: "" };
  for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) {
    const prefix = path.slice(0, at);
    const name = path.slice(at + 1);
    if (Buffer.byteLength(prefix) <= 155 && Buffer.byteLength(name) <= 100) return { name, prefix };
  }
  throw new RangeError(`${path} is too long for an archive`);
}

function header({ path, data }: TarEntry, mtime: number): Uint8Array {
  const block = Buffer.alloc(blockBytes);
  const octal = (value: number, at: number, length: number): void => {
    block.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
  };
  const { name, prefix } = split(path);
  block.write(name, 0, 100);
  octal(0o600, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(data.length, 124, 12);
  octal(mtime, 136, 12);
  block.write("        ", 148, "latin1");
  block.write("0", 156, "latin1");
  block.write("ustar\x0000", 257, "latin1");
  block.write(prefix, 345, 155);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

/** The archive's bytes. `mtime` in unix seconds. @throws RangeError for a path that is too long */
export function tar(entries: readonly TarEntry[], mtime: number): Uint8Array {
  const parts = entries.flatMap((entry) => {
    const rest = entry.data.length % blockBytes;
    return [header(entry, mtime), entry.data, new Uint8Array(rest === 0 ? 0 : blockBytes - rest)];
  });
  return Buffer.concat([...parts, new Uint8Array(2 * blockBytes)]);
}
