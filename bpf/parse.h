/* From bytes to struct packet: Ethernet, IPv4 with options, IPv6, TCP, UDP, ICMP. */
#ifndef WAGGLE_PARSE_H
#define WAGGLE_PARSE_H

#define ETHERNET_SIZE 14
#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd

#define PROTOCOL_ICMP 1
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_ICMPV6 58

#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_ACK 16

struct ipv4_header {
	__u8 version_ihl;
	__u8 tos;
	__be16 total_length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 source;
	__be32 destination;
};

struct ipv6_header {
	__be32 version_class_flow;
	__be16 payload_length;
	__u8 next_header;
	__u8 hop_limit;
	__u8 source[16];
	__u8 destination[16];
};

union address {
	__u8 bytes[16];
	__be32 words[4];
};

struct packet {
	union address source;
	union address destination;
	__be16 source_port;
	__be16 destination_port;
	/* Bytes from the start of the Ethernet header. */
	__u16 l4;
	__u8 family; /* 4 or 6 */
	__u8 protocol;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 fragment;
	__u8 proof;
};

static __always_inline int same_address(const union address *a, const union address *b)
{
	return a->words[0] == b->words[0] && a->words[1] == b->words[1] && a->words[2] == b->words[2] &&
	       a->words[3] == b->words[3];
}

static __always_inline void map_ipv4(union address *to, __be32 address)
{
	to->words[0] = 0;
	to->words[1] = 0;
	to->words[2] = bpf_htonl(0xffff);
	to->words[3] = address;
}

/* Ports, flags or ICMP type at packet->l4. A packet that ends before them is treated as one of no known protocol. */
static __always_inline void parse_l4(struct __sk_buff *skb, struct packet *packet)
{
	struct {
		__be16 source;
		__be16 destination;
	} ports;

	switch (packet->protocol) {
	case PROTOCOL_TCP:
		if (bpf_skb_load_bytes(skb, packet->l4 + 13, &packet->tcp_flags, 1) < 0)
			goto unknown;
		/* fall through */
	case PROTOCOL_UDP:
		if (bpf_skb_load_bytes(skb, packet->l4, &ports, sizeof(ports)) < 0)
			goto unknown;
		packet->source_port = ports.source;
		packet->destination_port = ports.destination;
		return;
	case PROTOCOL_ICMP:
	case PROTOCOL_ICMPV6:
		if (bpf_skb_load_bytes(skb, packet->l4, &packet->icmp_type, 1) < 0)
			goto unknown;
		return;
	}
unknown:
	packet->protocol = 0;
}

/* 0, or -1 for what is not plain IP: other protocols, frames of a VLAN on top of this device, truncated headers. */
static __always_inline int parse(struct __sk_buff *skb, struct packet *packet)
{
	__builtin_memset(packet, 0, sizeof(*packet));
	packet->proof = skb->mark == PROOF_MARK;
	if (skb->vlan_present)
		return -1;
	if (skb->protocol == bpf_htons(ETHERTYPE_IPV4)) {
		struct ipv4_header ip;

		if (bpf_skb_load_bytes(skb, ETHERNET_SIZE, &ip, sizeof(ip)) < 0)
			return -1;
		if (ip.version_ihl < 0x45 || ip.version_ihl > 0x4f)
			return -1;
		packet->family = 4;
		packet->protocol = ip.protocol;
		packet->l4 = ETHERNET_SIZE + (ip.version_ihl & 15) * 4;
		packet->fragment = (ip.fragment & bpf_htons(0x3fff)) != 0;
		map_ipv4(&packet->source, ip.source);
		map_ipv4(&packet->destination, ip.destination);
	} else if (skb->protocol == bpf_htons(ETHERTYPE_IPV6)) {
		struct ipv6_header ip;

		if (bpf_skb_load_bytes(skb, ETHERNET_SIZE, &ip, sizeof(ip)) < 0)
			return -1;
		packet->family = 6;
		packet->protocol = ip.next_header;
		packet->l4 = ETHERNET_SIZE + sizeof(ip);
		packet->fragment = ip.next_header == PROTOCOL_FRAGMENT;
		__builtin_memcpy(&packet->source, ip.source, 16);
		__builtin_memcpy(&packet->destination, ip.destination, 16);
	} else {
		return -1;
	}
	if (!packet->fragment)
		parse_l4(skb, packet);
	return 0;
}

#endif
