// agent: takes secrets out of what is handed to others: known values wherever they stand, and what looks like one.

const blackened = "(redacted)";
/** A shorter value would be found in words that have nothing to do with it. */
const shortestValue = 4;

const patterns: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g, blackened],
  // A JSON Web Token: three base64url parts, the first of which is an object.
  [/\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*/g, blackened],
  [/\b(Bearer|Basic)\s+[\w.~+/=-]{8,}/gi, `$1 ${blackened}`],
  [/(:\/\/[^/\s:@]+:)[^/\s@]+@/g, `$1${blackened}@`],
  // password=x, "token": "x", password "x"; a name of a Secret in a sentence stays.
  [
    /\b([\w-]*(?:password|passwd|passphrase|token|secret|api-?key|credentials?|client-key-data))(["']?\s*[=:]\s*["']?|\s+["'])([^\s"',;{}[\]]{4,})/gi,
    `$1$2${blackened}`,
  ],
  [/(--[\w-]*(?:password|token|secret)\s+)[^\s-]\S*/gi, `$1${blackened}`],
];

/** Fields that hold secrets whatever is in them. */
const secretField =
  /^(password|passwd|token|secret|privateKey|clientSecret|client-key-data|data|stringData)$/i;
/** Annotations that repeat a whole object. */
const copies: ReadonlySet<string> = new Set(["kubectl.kubernetes.io/last-applied-configuration"]);

export type Redact = (text: string) => string;

/** A function that blackens `secrets`, in clear, base64 and hexadecimal, and what looks like a secret. */
export function redactor(secrets: readonly string[]): Redact {
  const values = [...new Set(secrets)]
    .filter((s) => s.length >= shortestValue)
    .flatMap((s) => {
      const bytes = Buffer.from(s);
      // As JSON writes it, too: a quote in a password is escaped there.
      return [s, JSON.stringify(s).slice(1, -1), bytes.toString("base64"), bytes.toString("hex")];
    })
    .sort((a, b) => b.length - a.length);
  return (text) => {
    let out = text;
    for (const value of values) out = out.replaceAll(value, blackened);
    for (const [pattern, by] of patterns) out = out.replace(pattern, by);
    return out;
  };
}

/** An object without managed fields, copies of itself, and values of fields and variables that hold secrets. */
export function redactObject(value: unknown, redact: Redact): unknown {
  if (typeof value === "string") return redact(value);
  if (Array.isArray(value)) return value.map((v) => redactObject(v, redact));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([key]) => key !== "managedFields" && !copies.has(key));
  // {name: X, value: Y}: an environment variable, or something that looks like one.
  const named = entries.find(([key]) => key === "name")?.[1];
  const hides = typeof named === "string" && /pass|secret|token|credential|key/i.test(named);
  return Object.fromEntries(
    entries.map(([key, v]) => {
      if ((secretField.test(key) || (hides && key === "value")) && typeof v !== "object")
        return [key, blackened];
      if (secretField.test(key) && typeof v === "object" && v !== null && !Array.isArray(v))
        return [key, Object.fromEntries(Object.keys(v).map((k) => [k, blackened]))];
      return [key, redactObject(v, redact)];
    }),
  );
}
