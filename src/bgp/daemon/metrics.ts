// bgp/daemon: the speaker's samples.
import type { Source } from "../../metrics/index.ts";
import type { StationStatus } from "../bmp/exporter.ts";
import type { Speaker } from "../session/speaker.ts";
import { State } from "../session/types.ts";
import { afis } from "../wire/constants.ts";
import type { MrtStatus } from "./mrt-dump.ts";

/** What the daemon itself has refused. */
export interface DaemonCounts {
  connectionsRefused: number;
}

interface ControlCounts {
  readonly clients: number;
  readonly refused: number;
  readonly statesRefused: number;
}

interface MonitoringCounts {
  /** BFD packets by reason. */
  readonly bfdRefused: Readonly<Record<string, number>>;
  readonly stations: readonly StationStatus[];
  readonly mrt: MrtStatus | undefined;
}

const familyName = { 1: "ipv4", 2: "ipv6" } as const;

export const speakerSource =
  (
    speaker: Speaker,
    daemon: Readonly<DaemonCounts>,
    control: () => ControlCounts | undefined,
    monitoring: () => MonitoringCounts,
  ): Source =>
  (emit) => {
    for (const s of speaker.sessions) {
      const { name, counters } = s;
      emit("waggle_bgp_session_up", s.state === State.established, name);
      emit("waggle_bgp_session_flaps_total", s.flaps, name);
      emit("waggle_bgp_updates_sent_total", s.updatesSent, name);
      emit("waggle_bgp_updates_received_total", counters.updates, name);
      emit("waggle_bgp_update_errors_total", counters.treatedAsWithdraw, name, "treat_as_withdraw");
      emit("waggle_bgp_update_errors_total", counters.attributeDiscard, name, "attribute_discard");
      emit("waggle_bgp_update_errors_total", counters.unroutable, name, "unroutable");
      emit("waggle_bgp_update_errors_total", counters.familyIgnored, name, "family_ignored");
      emit("waggle_bgp_stale_families", afis.filter((afi) => s.stale[afi]).length, name);
      if (s.bfd) {
        emit("waggle_bgp_bfd_up", s.bfd.state === "Up", name);
        emit("waggle_bgp_bfd_downs_total", s.bfd.downs, name);
      }
      for (const afi of s.config.families) {
        const family = familyName[afi];
        emit("waggle_bgp_prefixes_received", s.rib.received[afi], name, family);
        emit("waggle_bgp_prefixes_accepted", s.rib.accepted[afi], name, family);
        emit("waggle_bgp_prefixes_advertised", s.sender?.out(afi)?.advertised ?? 0, name, family);
        emit("waggle_bgp_prefixes_discarded_total", s.rib.discarded[afi], name, family);
        const sent = s.config.prefixLimits?.sent[afi];
        if (sent !== undefined) {
          emit("waggle_bgp_prefixes_sent_max", sent, name, family);
          emit("waggle_bgp_prefixes_held_back", s.sender?.out(afi)?.heldBack ?? 0, name, family);
        }
        const most = s.config.prefixesMax[afi];
        if (most > 0) emit("waggle_bgp_prefixes_max", most, name, family);
      }
    }
    const { bfdRefused, stations, mrt } = monitoring();
    for (const [reason, n] of Object.entries(bfdRefused))
      emit("waggle_bgp_bfd_packets_refused_total", n, reason);
    for (const s of stations) {
      emit("waggle_bgp_bmp_connected", s.connected, s.name);
      emit("waggle_bgp_bmp_waiting_paths", s.waiting, s.name);
      emit("waggle_bgp_bmp_overflows_total", s.overflows, s.name);
    }
    if (mrt) {
      emit("waggle_bgp_mrt_bytes_total", mrt.bytes);
      emit("waggle_bgp_mrt_records_dropped_total", mrt.dropped);
    }
    emit("waggle_bgp_origins", speaker.config?.origins.length ?? 0);
    emit("waggle_bgp_generation", Number(speaker.config?.generation ?? 0n));
    emit("waggle_bgp_connections_refused_total", daemon.connectionsRefused);
    const counts = control();
    if (!counts) return;
    emit("waggle_bgp_control_clients", counts.clients);
    emit("waggle_bgp_control_clients_refused_total", counts.refused);
    emit("waggle_bgp_desired_refused_total", counts.statesRefused);
  };
