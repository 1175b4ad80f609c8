/* Between nodes: the packet as it came, its destination still the VIP, goes to the backend's node in VXLAN. The answer
 * goes straight to the client. */
#ifndef WAGGLE_TUNNEL_H
#define WAGGLE_TUNNEL_H

static __always_inline int is_mapped(const __u8 *address)
{
	const __be32 *words = (const __be32 *)address;

	return words[0] == 0 && words[1] == 0 && words[2] == bpf_htonl(0xffff);
}

/* The kernel's struct bpf_tunnel_key has grown; this is the part that every kernel takes (offsetof local_ipv4). */
#define TUNNEL_KEY_SIZE offsetof(struct bpf_tunnel_key, local_ipv4)

static __always_inline int send_to_node(struct __sk_buff *skb, const struct packet *packet,
					const struct choice *choice)
{
	struct bpf_tunnel_key key = {};
	__u64 flags = BPF_F_ZERO_CSUM_TX;
	struct settings *settings_now;
	union address node;
	__u32 zero = 0;

	settings_now = bpf_map_lookup_elem(&settings, &zero);
	if (!settings_now || settings_now->tunnel_ifindex == 0)
		goto failed;
	__builtin_memcpy(&node, choice->address, 16);
	key.tunnel_id = choice->second_hop ? TUNNEL_VNI_LAST : TUNNEL_VNI;
	key.tunnel_ttl = 64;
	if (is_mapped(node.bytes)) {
		key.remote_ipv4 = bpf_ntohl(node.words[3]);
	} else {
		__builtin_memcpy(key.remote_ipv6, node.bytes, 16);
		/* A zero checksum over IPv6 is an exception that receivers must allow first. */
		flags = BPF_F_TUNINFO_IPV6;
	}
	if (bpf_skb_set_tunnel_key(skb, &key, TUNNEL_KEY_SIZE, flags) < 0)
		goto failed;
	return bpf_redirect(settings_now->tunnel_ifindex, 0);
failed:
	tell(skb, packet, COUNT_TUNNEL_FAILED);
	return DROP;
}

/* The network identifier that a packet from the tunnel carried; 0 if there was none. */
static __always_inline __u32 tunnel_id(struct __sk_buff *skb)
{
	struct bpf_tunnel_key key = {};

	if (bpf_skb_get_tunnel_key(skb, &key, TUNNEL_KEY_SIZE, 0) < 0 &&
	    bpf_skb_get_tunnel_key(skb, &key, TUNNEL_KEY_SIZE, BPF_F_TUNINFO_IPV6) < 0)
		return 0;
	return key.tunnel_id;
}

#endif
