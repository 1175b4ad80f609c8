// What a scraper reads: both formats, negotiation, escapes, histograms, the bound of an answer.
import { describe, expect, it } from "vitest";
import { expose, Histogram, negotiate, type Source, samplesMax } from "../../../src/metrics/exposition.ts";

const source: Source = (emit) => {
  emit("waggle_bgp_session_up", true, 'a"b\\c\nd');
  emit("waggle_bgp_session_flaps_total", 3, "tor");
  emit("process_open_fds", 7);
};

describe("exposition", () => {
  it("is Prometheus' text in the table's order", () => {
    expect(expose([source], "text").text).toBe(
      [
        "# HELP process_open_fds Open file descriptors of the process.",
        "# TYPE process_open_fds gauge",
        "process_open_fds 7",
        "# HELP waggle_bgp_session_up 1: the session is Established.",
        "# TYPE waggle_bgp_session_up gauge",
        'waggle_bgp_session_up{peer="a\\"b\\\\c\\nd"} 1',
        "# HELP waggle_bgp_session_flaps_total Ends of an established session.",
        "# TYPE waggle_bgp_session_flaps_total counter",
        'waggle_bgp_session_flaps_total{peer="tor"} 3',
        "",
      ].join("\n"),
    );
  });

  it("is OpenMetrics where that is asked for: families of counters without _total, an end", () => {
    const { text } = expose([source], "openmetrics");
    expect(text).toContain(
      '# TYPE waggle_bgp_session_flaps counter\nwaggle_bgp_session_flaps_total{peer="tor"} 3\n',
    );
    expect(text.endsWith("# EOF\n")).toBe(true);
  });

  it("shows histograms cumulatively", () => {
    const histogram = new Histogram();
    for (const seconds of [0.0005, 0.001, 0.3, 99]) histogram.observe(seconds);
    const { text } = expose([(emit) => emit("waggle_agent_round_duration_seconds", histogram)], "text");
    const value = (line: string): string => new RegExp(`^${line} (.*)$`, "m").exec(text)?.[1] ?? "missing";
    expect(value('waggle_agent_round_duration_seconds_bucket\\{le="0.001"\\}')).toBe("2");
    expect(value('waggle_agent_round_duration_seconds_bucket\\{le="0.25"\\}')).toBe("2");
    expect(value('waggle_agent_round_duration_seconds_bucket\\{le="1.0"\\}')).toBe("3");
    expect(value('waggle_agent_round_duration_seconds_bucket\\{le="\\+Inf"\\}')).toBe("4");
    expect(value("waggle_agent_round_duration_seconds_count")).toBe("4");
    expect(Number(value("waggle_agent_round_duration_seconds_sum"))).toBeCloseTo(99.3015);
  });

  it("has a bound, and counts what is beyond it", () => {
    const many: Source = (emit) => {
      for (let i = 0; i < samplesMax + 5; i++) emit("waggle_bgp_session_up", 1, `p${i}`);
    };
    expect(expose([many], "text").dropped).toBe(5);
  });
});

describe("negotiation", () => {
  it.each([
    [undefined, "text"],
    ["*/*", "text"],
    ["application/openmetrics-text; version=1.0.0", "openmetrics"],
    [
      "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
      "openmetrics",
    ],
    ["text/plain;q=0.9, application/openmetrics-text;q=0.2", "text"],
    ["application/openmetrics-text;q=0", "text"],
    ["application/json", "text"],
    [";;q=x,,", "text"],
  ] as const)("of %j is %s", (accept, format) => expect(negotiate(accept)).toBe(format));
});
