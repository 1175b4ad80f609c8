// script, checker: the whole program. Settings, definitions and probes, checked in rounds until the types of maps are settled.
import { hasOwner, ownerPlaces } from "../arguments.ts";
import type { Item, Probe, Program } from "../ast.ts";
import { type Diagnostics, type Message, say } from "../diagnostics.ts";
import { type ResolvedPoint, resolvePoints } from "../probes.ts";
import type { MapInfo, TProbe, TProgram } from "../typed.ts";
import type { CompileOptions } from "../types.ts";
import { applyOutside, applySettings, defaultSettings } from "./config.ts";
import { define } from "./definitions.ts";
import { checkExpr } from "./expressions.ts";
import { truth } from "./operators.ts";
import { type Checking, unknown } from "./state.ts";
import { checkBlock } from "./statements.ts";
import { checkUncalled } from "./subprograms.ts";

/** Rounds until types must be settled; each round that is not the last made some type grow. */
const MAX_ROUNDS = 16;

const MAP_TYPES: Readonly<Record<string, NonNullable<MapInfo["declared"]>["type"]>> = {
  hash: "hash",
  lruhash: "lru_hash",
  percpuhash: "percpu_hash",
  percpulruhash: "lru_percpu_hash",
};

/** What the kernel takes as compatible with the GPL (include/linux/license.h). */
const LICENSES = [
  "GPL",
  "GPL v2",
  "GPL and additional rights",
  "Dual BSD/GPL",
  "Dual MIT/GPL",
  "Dual MPL/GPL",
];

const NOWHERE: ResolvedPoint = {
  text: "BEGIN",
  provider: "begin",
  programType: "syscall",
  context: { kind: "none" },
  attach: {},
  shareKey: "begin",
};

interface Group {
  readonly probe: Probe;
  readonly points: readonly ResolvedPoint[];
  /** There are no points: what the probe is checked as, and then left out. */
  readonly absent?: ResolvedPoint;
}

export function checkProgram(
  program: Program,
  defines: Checking["defines"],
  options: CompileOptions,
  diagnostics: Diagnostics,
): TProgram | undefined {
  const settings = defaultSettings(options);
  let speaking = true;
  const c: Checking = {
    options,
    types: options.types,
    settings,
    old: options.compat === "0.17",
    // Those with two dashes are getopt()'s, which 0.17 does not have.
    positional: (options.positional ?? []).filter((p) => options.compat === "0.17" || !p.startsWith("--")),
    named: new Set(),
    maps: new Map(),
    variables: new Map(),
    structures: new Map(),
    typedefs: new Map(),
    constants: new Map(),
    macros: new Map(),
    subprograms: new Map(),
    called: new Set(),
    defines,
    enums: new Map(),
    report: (loc, message: Message) => {
      if (speaking) diagnostics.report(loc, message);
    },
    changed: false,
    probeKey: "",
    points: [NOWHERE],
    point: NOWHERE,
    scopes: [],
    probeVariables: new Set(),
    loops: 0,
    expanding: [],
    bindings: new Map(),
    returning: undefined,
    expansions: 0,
    asksPoint: false,
  };
  definitions(c, program.items, diagnostics);
  applyOutside(settings, options.settings ?? {}, diagnostics);
  const groups = resolveGroups(c, program, diagnostics);
  if (diagnostics.errors() > 0) return undefined;
  let probes: TProbe[] = [];
  speaking = false;
  for (let round = 0; ; round++) {
    c.changed = false;
    c.called.clear();
    probes = groups.flatMap((g) => checkGroup(c, g));
    enterProbe(c, "fn", [NOWHERE], NOWHERE);
    checkUncalled(c, c.called);
    if (speaking) break;
    if (!c.changed || round >= MAX_ROUNDS) speaking = true;
  }
  const sound = diagnostics.errors() === 0;
  for (const map of c.maps.values()) {
    if (map.declared && map.key === undefined) {
      diagnostics.report(map.firstUse, say.unusedMap(map.name));
      c.maps.delete(map.name);
      continue;
    }
    const open = map.key === undefined || (map.aggregate === undefined && unknown(map.value));
    // Where something else is wrong, the wrong assignment is what to tell of.
    if (open && (sound || !map.assigned))
      diagnostics.report(
        map.firstUse,
        say.undefinedMap(
          map.name,
          [...c.maps.keys()].filter((n) => n !== map.name),
        ),
      );
  }
  const unasked = c.old
    ? []
    : (options.positional ?? [])
        .filter((p) => p.startsWith("--"))
        .map((p) => p.slice(2).replace(/=.*/s, ""))
        .filter((name) => !c.named.has(name));
  if (diagnostics.errors() === 0 && unasked.length > 0)
    diagnostics.report({ start: 0, end: 1 }, say.unexpectedOptions(unasked));
  if (diagnostics.errors() > 0) return undefined;
  if (probes.length === 0) {
    diagnostics.report({ start: 0, end: 1 }, say.noProbes());
    return undefined;
  }
  if (!LICENSES.includes(settings.license)) {
    diagnostics.report({ start: 0, end: 1 }, say.license(settings.license));
    return undefined;
  }
  return { probes, maps: [...c.maps.values()], settings, enums: c.enums, structures: c.structures };
}

function definitions(c: Checking, items: readonly Item[], diagnostics: Diagnostics): void {
  for (const item of items) {
    if (item.node === "config") applySettings(c.settings, item.settings, diagnostics);
    else if (item.node === "macro") {
      if (c.macros.has(item.name)) diagnostics.report(item.nameLoc, say.duplicate("macro", item.name));
      c.macros.set(item.name, item);
    } else if (item.node === "map_declaration") {
      const type = MAP_TYPES[item.type];
      if (!type) diagnostics.report(item.loc, say.mapDeclaration(item.type));
      else if (item.size < 1n || item.size > 1n << 24n)
        diagnostics.report(item.loc, say.argumentValue(item.name, "the size is 1..16777216 entries"));
      else
        c.maps.set(item.name, {
          name: item.name,
          id: c.maps.size,
          key: undefined,
          value: { kind: "none" },
          aggregate: undefined,
          signed: false,
          hist: undefined,
          series: undefined,
          declared: { type, size: Number(item.size) },
          firstUse: item.loc,
          assigned: false,
        });
    } else if (item.node === "subprogram") {
      if (c.subprograms.has(item.name)) diagnostics.report(item.loc, say.duplicate("function", item.name));
      c.subprograms.set(item.name, item);
    } else if (item.node === "structure" || item.node === "enumeration" || item.node === "typedef")
      define(c, item);
  }
}

function resolveGroups(c: Checking, program: Program, diagnostics: Diagnostics): Group[] {
  const groups: Group[] = [];
  /** 0.17 takes one BEGIN and one END. */
  const once = new Set<string>();
  let total = 0;
  const expand = (text: string): string =>
    text.replace(/\$(\d+)/g, (_, n: string) => c.positional[Number(n) - 1] ?? "");
  for (const item of program.items) {
    if (item.node !== "probe") continue;
    const points = resolvePoints(item.points, {
      types: c.types,
      diagnostics,
      maxProbes: c.settings.maxProbes,
      missing: c.settings.missingProbes,
      expand,
      old: c.old,
      ...(c.options.anyKernel === undefined ? {} : { anyKernel: c.options.anyKernel }),
    });
    total += points.length;
    for (const { manual } of points)
      if (c.old && (manual === "begin" || manual === "end")) {
        if (once.has(manual)) diagnostics.report(item.loc, say.oneOnly(manual.toUpperCase()));
        once.add(manual);
      }
    if (points.length > 0) groups.push({ probe: item, points });
    else if (!c.old && diagnostics.errors() === 0) diagnostics.report(item.loc, say.probeRemoved());
    else if (c.old && item.points.length > 0)
      groups.push({ probe: item, points: [], absent: absentPoint(item) });
  }
  if (total > c.settings.maxProbes)
    diagnostics.report({ start: 0, end: 1 }, say.tooManyProbes(total, c.settings.maxProbes));
  return groups;
}

/** What 0.17 checks a probe without attach points as: its maps are there, its program is not. */
const absentPoint = ({ points }: Probe): ResolvedPoint => ({
  text: points[0]?.text ?? "",
  provider: "kprobe",
  programType: "kprobe",
  context: {
    kind: "registers",
    ret: /^(kr|ur|kretprobe|uretprobe):/.test(points[0]?.text ?? ""),
    space: /^k/.test(points[0]?.text ?? "") ? "kernel" : "user",
  },
  attach: {},
  shareKey: "",
});

/** One program for all points that can share it: the same kind, and nothing in the body that asks which. */
function checkGroup(c: Checking, group: Group): TProbe[] {
  if (group.absent) {
    checkProbe(c, group.probe, [group.absent], group.absent);
    return [];
  }
  const byKey = new Map<string, ResolvedPoint[]>();
  for (const point of group.points) {
    // What the ownership's prologue reads is at another place for each.
    const places = c.options.ownership && hasOwner(point) ? ownerPlaces(point.context, c.types) : undefined;
    const key = places ? `${point.shareKey} ${places.socket} ${places.packet}` : point.shareKey;
    const list = byKey.get(key);
    if (list) list.push(point);
    else byKey.set(key, [point]);
  }
  return [...byKey.values()].flatMap((points) => {
    const [first] = points;
    if (!first) return [];
    const shared = checkProbe(c, group.probe, points, first);
    if (!c.asksPoint || points.length === 1) return [shared];
    return points.map((point) => checkProbe(c, group.probe, [point], point));
  });
}

function checkProbe(
  c: Checking,
  probe: Probe,
  points: readonly ResolvedPoint[],
  point: ResolvedPoint,
): TProbe {
  enterProbe(c, `${probe.loc.start}:${point.text}`, points, point);
  const predicate = probe.predicate ? truth(c, checkExpr(c, probe.predicate)) : undefined;
  const early = [...c.probeVariables];
  const body = checkBlock(c, probe.body);
  return { points, body, predicate, variables: [...c.probeVariables], early, loc: probe.loc };
}

function enterProbe(c: Checking, key: string, points: readonly ResolvedPoint[], point: ResolvedPoint): void {
  c.probeKey = key;
  c.points = points;
  c.point = point;
  c.scopes = [new Map()];
  c.probeVariables = new Set();
  c.loops = 0;
  c.expanding = [];
  c.bindings = new Map();
  c.returning = undefined;
  c.expansions = 0;
  c.asksPoint = false;
}
