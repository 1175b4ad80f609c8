// bgp/bmp: what stations are said to be, in one place.

export const stationReason = {
  starting: "not tried yet",
  tooSlow: "monitoring station is too slow; its connection is begun anew",
} as const;
