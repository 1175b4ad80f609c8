// script, lowering: time series. Each CPU keeps of every interval one value, in a bucket that a later interval takes over.
import { HELPER } from "../ir/helpers.ts";
import type { Address, Val } from "../ir/ir.ts";
import type { MapInfo, TExpr } from "../typed.ts";
import { lookup, storeKey, update } from "./maps.ts";
import { at, type Lowering, plus, when } from "./state.ts";

/** @map[key] = tseries(value, ...). */
export function addToSeries(l: Lowering, map: MapInfo, key: readonly TExpr[], operand: Val): void {
  const { b } = l;
  const { series } = map;
  if (!series) return;
  const storage = l.plan.storage(map);
  const helper = l.options.types.features.ktimeGetTaiNs ? HELPER.ktime_get_tai_ns : HELPER.ktime_get_boot_ns;
  const now = b.call(helper, []);
  const interval = b.alu("div", now, series.interval);
  const bucket = b.alu("mod", interval, BigInt(series.count));
  const second = series.how === "last" ? now : 1n;
  let slot: Address;
  if (key.length === 0) {
    slot = at(b.frame(4));
    b.store(slot, 4, bucket);
  } else {
    slot = storeKey(l, map, key);
    b.store(plus(slot, storage.bucketOffset), 8, bucket);
  }
  const begin = (cell: Address): void => {
    b.store(cell, 8, operand);
    b.store(plus(cell, 8), 8, second);
    b.store(plus(cell, 16), 8, interval);
  };
  const found = lookup(l, map, slot);
  const add = (): void => {
    const cell = at(found);
    when(
      l,
      "eq",
      b.load(plus(cell, 16), 8),
      interval,
      () => addInInterval(l, map, cell, operand, second),
      () => begin(cell),
    );
  };
  if (key.length === 0) {
    when(l, "ne", found, 0n, add);
    return;
  }
  when(l, "ne", found, 0n, add, () => {
    const fresh = at(b.frame(storage.kernel.valueSize));
    begin(fresh);
    update(l, map, slot, fresh);
  });
}

/** Another value of the interval that the cell holds. */
function addInInterval(l: Lowering, map: MapInfo, cell: Address, operand: Val, second: Val): void {
  const { b } = l;
  const have = b.load(cell, 8);
  switch (map.series?.how) {
    case "last":
      b.store(cell, 8, operand);
      b.store(plus(cell, 8), 8, second);
      return;
    case "sum":
    case "avg":
      b.store(cell, 8, b.alu("add", have, operand));
      b.store(plus(cell, 8), 8, b.alu("add", b.load(plus(cell, 8), 8), 1n));
      return;
    case "min":
      when(l, map.signed ? "sgt" : "gt", have, operand, () => b.store(cell, 8, operand));
      return;
    case "max":
      when(l, map.signed ? "slt" : "lt", have, operand, () => b.store(cell, 8, operand));
  }
}
