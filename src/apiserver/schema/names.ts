// apiserver/schema: what may be a name, a label, a key, and how a wrong one is complained about.

const label = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const subdomain = `${label}(\\.${label})*`;
const label1035 = "[a-z]([-a-z0-9]*[a-z0-9])?";
const qualified = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const value = `(${qualified})?`;
const configKey = "[-._a-zA-Z0-9]+";

const matcher = (source: string): RegExp => new RegExp(`^(?:${source})$`);
const patterns = {
  label: matcher(label),
  subdomain: matcher(subdomain),
  label1035: matcher(label1035),
  qualified: matcher(qualified),
  value: matcher(value),
  configKey: matcher(configKey),
};

const tooLong = (limit: number): string => `must be no more than ${limit} characters`;
const example = (text: string, source: string): string =>
  `(e.g. ${text}, regex used for validation is '${source}')`;

/** Complaints about a name; empty where it is good. */
export type NameCheck = (name: string) => string[];

const check =
  (pattern: RegExp, limit: number, rule: string): NameCheck =>
  (name) => [...(name.length > limit ? [tooLong(limit)] : []), ...(pattern.test(name) ? [] : [rule])];

export const subdomainProblems: NameCheck = check(
  patterns.subdomain,
  253,
  `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character ${example("'example.com'", subdomain)}`,
);

export const labelProblems: NameCheck = check(
  patterns.label,
  63,
  `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character ${example("'my-name',  or '123-abc'", label)}`,
);

export const label1035Problems: NameCheck = check(
  patterns.label1035,
  63,
  `a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character ${example("'my-name',  or 'abc-123'", label1035)}`,
);

export const labelValueProblems: NameCheck = check(
  patterns.value,
  63,
  `a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character ${example("'MyValue',  or 'my_value',  or '12345'", value)}`,
);

export const configKeyProblems: NameCheck = check(
  patterns.configKey,
  253,
  `a valid config key must consist of alphanumeric characters, '-', '_' or '.' ${example("'key.name',  or 'KEY_NAME',  or 'key-name'", configKey)}`,
);

const namePart: NameCheck = (name) => [
  ...(name.length > 63 ? ["name part must be no more than 63 characters"] : []),
  ...(patterns.qualified.test(name)
    ? []
    : [
        `name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character ${example("'MyName',  or 'my.name',  or '123-abc'", qualified)}`,
      ]),
];

/** A key of labels or annotations: an optional DNS prefix, a slash, a name. */
export const qualifiedProblems: NameCheck = (key) => {
  const parts = key.split("/");
  if (parts.length > 2)
    return [
      `a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character ${example("'MyName',  or 'my.name',  or '123-abc'", qualified)} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`,
    ];
  const [first = "", second] = parts;
  if (second === undefined) return namePart(first);
  const prefix =
    first === ""
      ? ["prefix part must be non-empty"]
      : subdomainProblems(first).map((p) => `prefix part ${p}`);
  return [...prefix, ...namePart(second)];
};

/** RBAC names may be anything that is one segment of a path: `system:node:a` is one. */
export const pathSegmentProblems: NameCheck = (name) => {
  if (name === "." || name === "..") return [`may not be '${name}'`];
  return ["/", "%"].filter((c) => name.includes(c)).map((c) => `may not contain '${c}'`);
};

export const isLabelValue = (text: string): boolean => labelValueProblems(text).length === 0;
export const isQualifiedName = (text: string): boolean => qualifiedProblems(text).length === 0;
export const isDnsLabel = (text: string): boolean => labelProblems(text).length === 0;
