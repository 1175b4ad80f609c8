/* The datapath: VIPs in at the fabric, between nodes by tunnel, answers out under the VIP's name. One program a hook. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <stddef.h>

#include "routes.h"
#include "maps.h"
#include "parse.h"
#include "verdict.h"
#include "rewrite.h"
#include "balance.h"
#include "tunnel.h"
#include "icmp.h"

static __always_inline int is_tcp_or_udp(const struct packet *packet)
{
	return packet->protocol == PROTOCOL_TCP || packet->protocol == PROTOCOL_UDP;
}

static __always_inline int drop(struct __sk_buff *skb, const struct packet *packet, __u32 why)
{
	tell(skb, packet, why);
	return DROP;
}

/* The fabric's packet to a VIP whose entry is here. */
static __always_inline int enter(struct __sk_buff *skb, const struct packet *packet)
{
	struct choice choice = {};
	struct service *service;

	if (packet->fragment)
		return drop(skb, packet, COUNT_FRAGMENT);
	if (is_echo(packet))
		return answer_echo(skb, packet);
	if (is_icmp_error(packet))
		return deliver_error(skb, packet, 0, 0);
	if (!is_tcp_or_udp(packet))
		return drop(skb, packet, COUNT_UNSUPPORTED);
	service = service_of(packet);
	if (!service)
		return drop(skb, packet, COUNT_NO_SERVICE);
	if (!(service->flags & FLAG_ENTRY))
		return NEXT;
	if (balance(skb, packet, service, 0, 0, &choice) < 0)
		return drop(skb, packet, COUNT_NO_BACKEND);
	if (!choice.local) {
		tell(skb, packet, COUNT_VIP_TUNNELLED);
		return send_to_node(skb, packet, &choice);
	}
	if (rewrite_end(skb, packet, DESTINATION, choice.address, choice.port) < 0)
		return drop(skb, packet, COUNT_UNSUPPORTED);
	tell(skb, packet, COUNT_VIP_LOCAL);
	return NEXT;
}

SEC("tc")
int fabric_ingress(struct __sk_buff *skb)
{
	struct local_prefix_key local = { .prefixlen = 128 };
	struct packet packet;
	struct vip *vip;

	if (parse(skb, &packet) < 0)
		return NEXT;
	count_flow(skb, &packet, &packet.source, &packet.destination);
	vip = bpf_map_lookup_elem(&vips, &packet.destination);
	if (vip && vip->flags & FLAG_ENTRY)
		return enter(skb, &packet);
	__builtin_memcpy(local.address, packet.destination.bytes, 16);
	if (bpf_map_lookup_elem(&local_prefixes, &local))
		tell(skb, &packet, COUNT_LOCAL_PREFIX);
	return NEXT;
}

/* A backend's answer gets the name by which it was called. */
static __always_inline int leave(struct __sk_buff *skb, struct packet *packet)
{
	struct connection_key key = {};
	struct connection *connection;
	struct settings *settings_now;
	__u32 zero = 0;
	__u16 limit;

	if (packet->fragment || !is_tcp_or_udp(packet) || packet->proof)
		return 0;
	__builtin_memcpy(key.client, packet->destination.bytes, 16);
	__builtin_memcpy(key.server, packet->source.bytes, 16);
	key.client_port = packet->destination_port;
	key.server_port = packet->source_port;
	key.protocol = packet->protocol;
	key.direction = TO_CLIENT;
	connection = bpf_map_lookup_elem(&connections, &key);
	if (!connection)
		return 0;
	touch(connection, packet);
	/* What the server offers bounds what the client sends, and that may have to go through the tunnel. */
	settings_now = bpf_map_lookup_elem(&settings, &zero);
	if (settings_now && packet->protocol == PROTOCOL_TCP && packet->tcp_flags & TCP_SYN) {
		limit = packet->family == 4 ? settings_now->mss_ipv4 : settings_now->mss_ipv6;
		if (limit && clamp_mss(skb, packet, limit))
			tell(skb, packet, COUNT_MSS_CLAMPED);
	}
	if (rewrite_end(skb, packet, SOURCE, connection->address, connection->port) < 0)
		return -1;
	__builtin_memcpy(packet->source.bytes, connection->address, 16);
	tell(skb, packet, COUNT_REPLY);
	return 0;
}

SEC("tc")
int fabric_egress(struct __sk_buff *skb)
{
	struct packet packet;

	if (parse(skb, &packet) < 0)
		return NEXT;
	if (leave(skb, &packet) < 0)
		return drop(skb, &packet, COUNT_UNSUPPORTED);
	count_flow(skb, &packet, &packet.source, &packet.destination);
	return NEXT;
}

/* Towards a pod of this node: the answer of another pod of this node that was called by a VIP passes no fabric. */
SEC("tc")
int pod_egress(struct __sk_buff *skb)
{
	struct packet packet;

	if (parse(skb, &packet) < 0)
		return NEXT;
	if (leave(skb, &packet) < 0)
		return drop(skb, &packet, COUNT_UNSUPPORTED);
	return NEXT;
}

/* What other nodes send for this node's backends. Anything else in the tunnel is somebody's forgery and goes. */
SEC("tc")
int tunnel_ingress(struct __sk_buff *skb)
{
	struct choice choice = {};
	struct service *service;
	struct packet packet;
	__u32 network;

	if (parse(skb, &packet) < 0)
		return DROP;
	network = packet.proof ? TUNNEL_VNI : tunnel_id(skb);
	if (network != TUNNEL_VNI && network != TUNNEL_VNI_LAST)
		return drop(skb, &packet, COUNT_TUNNEL_STRANGER);
	/* The frame still has the entry node's MAC as its destination. */
	bpf_skb_change_type(skb, 0 /* PACKET_HOST */);
	if (!packet.fragment && is_icmp_error(&packet))
		return deliver_error(skb, &packet, 1, network == TUNNEL_VNI);
	if (packet.fragment || !is_tcp_or_udp(&packet))
		return drop(skb, &packet, COUNT_TUNNEL_STRANGER);
	service = service_of(&packet);
	if (!service)
		return drop(skb, &packet, COUNT_TUNNEL_STRANGER);
	if (balance(skb, &packet, service, 1, network == TUNNEL_VNI, &choice) < 0)
		return drop(skb, &packet, COUNT_NO_BACKEND);
	if (!choice.local) {
		tell(skb, &packet, COUNT_TUNNEL_FORWARDED);
		return send_to_node(skb, &packet, &choice);
	}
	if (rewrite_end(skb, &packet, DESTINATION, choice.address, choice.port) < 0)
		return drop(skb, &packet, COUNT_UNSUPPORTED);
	tell(skb, &packet, COUNT_TUNNEL_DELIVERED);
	return NEXT;
}

char _license[] SEC("license") = "GPL";
