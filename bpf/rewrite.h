/* Changes of addresses and ports that keep every checksum right, the hardware's (CHECKSUM_COMPLETE, CHECKSUM_PARTIAL)
 * included. */
#ifndef WAGGLE_REWRITE_H
#define WAGGLE_REWRITE_H

enum end { SOURCE, DESTINATION };

static __always_inline int l4_checksum_offset(const struct packet *packet)
{
	return packet->l4 + (packet->protocol == PROTOCOL_TCP ? 16 : 6);
}

/* A UDP checksum of zero means none and stays so; one that becomes zero is written as 0xffff. */
static __always_inline __u64 l4_flags(const struct packet *packet)
{
	return packet->protocol == PROTOCOL_UDP ? BPF_F_MARK_MANGLED_0 : 0;
}

/* The IP address at one end, in the IP header alone. `pseudo`: the L4 checksum at this offset covers it. */
static __always_inline int rewrite_address(struct __sk_buff *skb, const struct packet *packet, enum end end,
					   const union address *from, const union address *to, int pseudo,
					   __u64 flags)
{
	if (packet->family == 4) {
		int at = ETHERNET_SIZE + (end == SOURCE ? 12 : 16);

		if (pseudo && bpf_l4_csum_replace(skb, pseudo, from->words[3], to->words[3],
						  BPF_F_PSEUDO_HDR | flags | 4) < 0)
			return -1;
		if (bpf_l3_csum_replace(skb, ETHERNET_SIZE + 10, from->words[3], to->words[3], 4) < 0)
			return -1;
		return bpf_skb_store_bytes(skb, at, &to->words[3], 4, 0);
	} else {
		int at = ETHERNET_SIZE + (end == SOURCE ? 8 : 24);
		__s64 difference =
			bpf_csum_diff((__be32 *)from->words, 16, (__be32 *)to->words, 16, 0);

		if (pseudo &&
		    bpf_l4_csum_replace(skb, pseudo, 0, difference, BPF_F_PSEUDO_HDR | flags) < 0)
			return -1;
		/* IPv6 has no header checksum that would cancel the change in a CHECKSUM_COMPLETE sum. */
		return bpf_skb_store_bytes(skb, at, to->bytes, 16, BPF_F_RECOMPUTE_CSUM);
	}
}

/* Address and port of one end of a TCP or UDP packet. */
static __always_inline int rewrite_end(struct __sk_buff *skb, const struct packet *packet, enum end end,
				       const __u8 *address, __be16 port)
{
	const union address *from = end == SOURCE ? &packet->source : &packet->destination;
	__be16 from_port = end == SOURCE ? packet->source_port : packet->destination_port;
	int checksum = l4_checksum_offset(packet);
	__u64 flags = l4_flags(packet);
	union address to;

	__builtin_memcpy(&to, address, 16);
	if (rewrite_address(skb, packet, end, from, &to, checksum, flags) < 0)
		return -1;
	if (from_port == port)
		return 0;
	if (bpf_l4_csum_replace(skb, checksum, from_port, port, flags | 2) < 0)
		return -1;
	return bpf_skb_store_bytes(skb, packet->l4 + (end == SOURCE ? 0 : 2), &port, 2, 0);
}

#define MSS_KIND 2
#define MSS_OPTIONS 10

/* Lowers the MSS that a SYN offers. Reads at most MSS_OPTIONS options; the MSS is the first in practice. */
static __always_inline int clamp_mss(struct __sk_buff *skb, const struct packet *packet, __u16 limit)
{
	__u8 offset_byte, option[2];
	int at = packet->l4 + 20, end;
	__be16 old, new = bpf_htons(limit);
	int i;

	if (bpf_skb_load_bytes(skb, packet->l4 + 12, &offset_byte, 1) < 0)
		return 0;
	end = packet->l4 + (offset_byte >> 4) * 4;
	for (i = 0; i < MSS_OPTIONS; i++) {
		if (at + 4 > end || bpf_skb_load_bytes(skb, at, option, 2) < 0 || option[0] == 0)
			return 0;
		if (option[0] == MSS_KIND)
			break;
		at += option[0] == 1 ? 1 : option[1];
		if (option[0] != 1 && option[1] < 2)
			return 0;
	}
	if (i == MSS_OPTIONS || option[1] != 4 || bpf_skb_load_bytes(skb, at + 2, &old, 2) < 0)
		return 0;
	if (bpf_ntohs(old) <= limit)
		return 0;
	/* A value at an odd place is summed with its bytes the other way round. */
	if ((at - packet->l4) & 1)
		bpf_l4_csum_replace(skb, l4_checksum_offset(packet), __builtin_bswap16(old),
				    __builtin_bswap16(new), 2);
	else
		bpf_l4_csum_replace(skb, l4_checksum_offset(packet), old, new, 2);
	bpf_skb_store_bytes(skb, at + 2, &new, 2, 0);
	return 1;
}

#endif
