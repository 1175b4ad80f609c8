// agent: secrets are taken out of what is handed to others, and what only looks a little like one stays.
import { describe, expect, it } from "vitest";
import { redactObject, redactor } from "../../../src/agent/redact.ts";

const redact = redactor(["Correct-Horse-77", 'q"uo\\te-99', "abc"]);

describe("redactor", () => {
  it.each([
    ["a known value", "it is Correct-Horse-77, he said", "it is (redacted), he said"],
    ["in base64", `x ${Buffer.from("Correct-Horse-77").toString("base64")} y`, "x (redacted) y"],
    ["in hexadecimal", Buffer.from("Correct-Horse-77").toString("hex"), "(redacted)"],
    ["as JSON writes it", JSON.stringify({ note: 'q"uo\\te-99' }), '{"note":"(redacted)"}'],
    ["a password by its name", "password=hunter2hunter", "password=(redacted)"],
    ["in JSON", '{"password":"hunter2hunter","x":1}', '{"password":"(redacted)","x":1}'],
    ["in YAML", "  bgpPassword: hunter2hunter", "  bgpPassword: (redacted)"],
    ["as BIRD writes it", 'password "hunter2hunter";', 'password "(redacted)";'],
    [
      "on a command line",
      "bgpd --bgp-password hunter2hunter --log-level info",
      "bgpd --bgp-password (redacted) --log-level info",
    ],
    ["a token in a header", "authorization: Bearer abcdefghijkl.mnop", "authorization: Bearer (redacted)"],
    ["a JSON Web Token", "got eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln here", "got (redacted) here"],
    [
      "credentials of a URL",
      "https://me:hunter2hunter@example.test/x",
      "https://me:(redacted)@example.test/x",
    ],
    [
      "a private key",
      "-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----\nrest",
      "(redacted)\nrest",
    ],
    ["a private key that is cut off", "-----BEGIN PRIVATE KEY-----\nMHcC", "(redacted)"],
  ])("blackens %s", (_, text, expected) => {
    expect(redact(text)).toBe(expected);
  });

  it.each([
    [
      "words about secrets",
      "Secret waggle-system/bgp-tor with key password is not there; the session is kept down",
    ],
    ["the name of a Secret", '"passwordSecretName": "bgp-tor"'],
    ["a value too short to be found by", "abc abcdef"],
    ["addresses and communities", "fd20:1::5/128 64601:1:2 via 172.30.1.11"],
    ["a certificate", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"],
    ["a time", "2026-11-24T23:52:11Z"],
  ])("leaves %s", (_, text) => {
    expect(redact(text)).toBe(text);
  });

  it("in objects: fields, variables and copies of whole objects", () => {
    const out = redactObject(
      {
        metadata: {
          name: "x",
          managedFields: [{}],
          annotations: { "kubectl.kubernetes.io/last-applied-configuration": "{}", note: "Correct-Horse-77" },
        },
        data: { password: "aGk=" },
        spec: {
          passwordSecretName: "bgp-tor",
          containers: [
            {
              env: [
                { name: "BGP_PASSWORD", value: "hunter2" },
                { name: "NODE_NAME", value: "n1" },
              ],
            },
          ],
          token: "t",
          tolerations: [{ key: "a", operator: "Exists" }],
          count: 3,
          nothing: null,
        },
      },
      redact,
    );
    expect(out).toEqual({
      metadata: { name: "x", annotations: { note: "(redacted)" } },
      data: { password: "(redacted)" },
      spec: {
        passwordSecretName: "bgp-tor",
        containers: [
          {
            env: [
              { name: "BGP_PASSWORD", value: "(redacted)" },
              { name: "NODE_NAME", value: "n1" },
            ],
          },
        ],
        token: "(redacted)",
        tolerations: [{ key: "a", operator: "Exists" }],
        count: 3,
        nothing: null,
      },
    });
  });

  it("takes a second for a log of 4 MiB at most", () => {
    const line =
      '{"level":30,"time":1700000000000,"name":"agent","msg":"desired state sent to the speaker","hash":"2f537e79078a6992"}\n';
    const log = line.repeat(Math.ceil((4 * 1024 * 1024) / line.length));
    const begun = performance.now();
    expect(redact(log)).toBe(log);
    // Bound against patterns that take time with the square of the length, not a measurement: it takes a tenth of it.
    expect(performance.now() - begun).toBeLessThan(10_000);
  });
});
