/* ICMP to a VIP: pings are answered here; errors about a connection go where the connection goes. */
#ifndef WAGGLE_ICMP_H
#define WAGGLE_ICMP_H

#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER 12
#define ICMPV6_PARAMETER 4
#define ICMPV6_ECHO 128
#define ICMPV6_ECHO_REPLY 129

#define ANSWER_TTL 64

static __always_inline int is_echo(const struct packet *packet)
{
	return packet->family == 4 ? packet->protocol == PROTOCOL_ICMP && packet->icmp_type == ICMP_ECHO
				   : packet->protocol == PROTOCOL_ICMPV6 && packet->icmp_type == ICMPV6_ECHO;
}

static __always_inline int is_icmp_error(const struct packet *packet)
{
	if (packet->family == 4)
		return packet->protocol == PROTOCOL_ICMP &&
		       (packet->icmp_type == ICMP_UNREACHABLE || packet->icmp_type == ICMP_TIME_EXCEEDED ||
			packet->icmp_type == ICMP_PARAMETER);
	return packet->protocol == PROTOCOL_ICMPV6 && packet->icmp_type >= 1 &&
	       packet->icmp_type <= ICMPV6_PARAMETER;
}

/* Turns the request into its reply and sends it out where it came in. */
static __always_inline int answer_echo(struct __sk_buff *skb, const struct packet *packet)
{
	__u8 macs[12], swapped[12], type, ttl = ANSWER_TTL;
	__be16 old_type, new_type, old_ttl, new_ttl;

	if (bpf_skb_load_bytes(skb, 0, macs, 12) < 0 ||
	    bpf_skb_load_bytes(skb, packet->l4, &old_type, 2) < 0)
		return DROP;
	__builtin_memcpy(swapped, macs + 6, 6);
	__builtin_memcpy(swapped + 6, macs, 6);
	type = packet->family == 4 ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY;
	/* Type and code as the checksum sees them. */
	new_type = bpf_htons((__u16)type << 8 | (bpf_ntohs(old_type) & 0xff));
	/* Exchanging two addresses leaves every sum over both as it is. */
	if (packet->family == 4) {
		if (bpf_skb_load_bytes(skb, ETHERNET_SIZE + 8, &old_ttl, 2) < 0)
			return DROP;
		new_ttl = bpf_htons((__u16)ttl << 8 | (bpf_ntohs(old_ttl) & 0xff));
		bpf_skb_store_bytes(skb, ETHERNET_SIZE + 12, &packet->destination.words[3], 4, 0);
		bpf_skb_store_bytes(skb, ETHERNET_SIZE + 16, &packet->source.words[3], 4, 0);
		bpf_l3_csum_replace(skb, ETHERNET_SIZE + 10, old_ttl, new_ttl, 2);
		bpf_skb_store_bytes(skb, ETHERNET_SIZE + 8, &ttl, 1, 0);
	} else {
		bpf_skb_store_bytes(skb, ETHERNET_SIZE + 8, packet->destination.bytes, 16, 0);
		bpf_skb_store_bytes(skb, ETHERNET_SIZE + 24, packet->source.bytes, 16, 0);
		bpf_skb_store_bytes(skb, ETHERNET_SIZE + 7, &ttl, 1, BPF_F_RECOMPUTE_CSUM);
	}
	bpf_l4_csum_replace(skb, packet->l4 + 2, old_type, new_type, 2);
	bpf_skb_store_bytes(skb, packet->l4, &type, 1, 0);
	if (bpf_skb_store_bytes(skb, 0, swapped, 12, 0) < 0)
		return DROP;
	tell(skb, packet, COUNT_ECHO);
	return bpf_redirect(skb->ifindex, 0);
}

/* The packet that an error speaks of, as the client would send it: what the tables are asked for. */
static __always_inline int parse_offender(struct __sk_buff *skb, const struct packet *error,
					  struct packet *offender, __u16 *at)
{
	struct {
		__be16 source;
		__be16 destination;
	} ports;

	__builtin_memset(offender, 0, sizeof(*offender));
	offender->family = error->family;
	offender->proof = error->proof;
	/* No SYN: an error binds to the connection that it speaks of. */
	offender->tcp_flags = TCP_ACK;
	*at = error->l4 + 8;
	if (error->family == 4) {
		struct ipv4_header ip;

		if (bpf_skb_load_bytes(skb, *at, &ip, sizeof(ip)) < 0 || ip.version_ihl < 0x45 ||
		    ip.version_ihl > 0x4f)
			return -1;
		offender->protocol = ip.protocol;
		offender->l4 = *at + (ip.version_ihl & 15) * 4;
		map_ipv4(&offender->source, ip.destination);
		map_ipv4(&offender->destination, ip.source);
	} else {
		struct ipv6_header ip;

		if (bpf_skb_load_bytes(skb, *at, &ip, sizeof(ip)) < 0)
			return -1;
		offender->protocol = ip.next_header;
		offender->l4 = *at + sizeof(ip);
		__builtin_memcpy(&offender->source, ip.destination, 16);
		__builtin_memcpy(&offender->destination, ip.source, 16);
	}
	if (offender->protocol != PROTOCOL_TCP && offender->protocol != PROTOCOL_UDP)
		return -1;
	if (!same_address(&offender->destination, &error->destination))
		return -1;
	if (bpf_skb_load_bytes(skb, offender->l4, &ports, sizeof(ports)) < 0)
		return -1;
	offender->source_port = ports.destination;
	offender->destination_port = ports.source;
	return 0;
}

/*
 * Gives the backend its own address back, in the error's header and in the packet that it quotes. The quoted L4
 * checksum is left: nobody checks it, and often it is not there.
 */
static __always_inline int rewrite_error(struct __sk_buff *skb, const struct packet *error,
					 const struct packet *offender, __u16 at, const struct choice *choice)
{
	int checksum = error->l4 + 2;
	union address to;

	__builtin_memcpy(&to, choice->address, 16);
	/* Only ICMPv6 has the addresses of its header in its checksum. */
	if (rewrite_address(skb, error, DESTINATION, &error->destination, &to, error->family == 6 ? checksum : 0,
			    0) < 0)
		return -1;
	if (error->family == 4) {
		/* The quoted header's own checksum cancels this change in the ICMP checksum. */
		if (bpf_l3_csum_replace(skb, at + 10, error->destination.words[3], to.words[3], 4) < 0 ||
		    bpf_skb_store_bytes(skb, at + 12, &to.words[3], 4, 0) < 0)
			return -1;
	} else {
		__s64 difference = bpf_csum_diff((__be32 *)error->destination.words, 16, to.words, 16, 0);

		if (bpf_l4_csum_replace(skb, checksum, 0, difference, 0) < 0 ||
		    bpf_skb_store_bytes(skb, at + 8, to.bytes, 16, 0) < 0)
			return -1;
	}
	if (offender->destination_port == choice->port)
		return 0;
	if (bpf_l4_csum_replace(skb, checksum, offender->destination_port, choice->port, 2) < 0)
		return -1;
	return bpf_skb_store_bytes(skb, offender->l4, &choice->port, 2, 0);
}

/* An error to a VIP, from the fabric or out of the tunnel (`local_only`). */
static __always_inline int deliver_error(struct __sk_buff *skb, const struct packet *error, int local_only,
					 int may_forward)
{
	struct choice choice = {};
	struct packet offender;
	struct service *service;
	__u16 at;

	if (parse_offender(skb, error, &offender, &at) < 0)
		goto unsupported;
	service = service_of(&offender);
	if (!service)
		goto unsupported;
	if (balance(skb, &offender, service, local_only, may_forward, &choice) < 0) {
		tell(skb, error, COUNT_NO_BACKEND);
		return DROP;
	}
	if (choice.local && rewrite_error(skb, error, &offender, at, &choice) < 0)
		goto unsupported;
	tell(skb, error, COUNT_ICMP_ERROR);
	return choice.local ? NEXT : send_to_node(skb, error, &choice);
unsupported:
	tell(skb, error, COUNT_UNSUPPORTED);
	return DROP;
}

#endif
