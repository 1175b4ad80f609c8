// datapath: how our kernel routes are told from everybody else's.

/** rtnetlink protocol number of our routes ("W"); `ip route show proto 87`. */
export const routeProtocol = 87;

/** Larger than what people and other daemons use: where both have a prefix, theirs is taken. */
export const routeMetric = 1087;
