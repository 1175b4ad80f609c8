/* Contract maps: learned routes as the speaker's table left them. Read by the datapath here and by traces, which
 * open them by their pinned path; written by user space alone. Names and layouts are fixed. */
#ifndef WAGGLE_ROUTES_H
#define WAGGLE_ROUTES_H

#define ROUTES_MAX 16384
#define ROUTE_UNKNOWN 0
#define ROUTE_OVERFLOW 1

/* IPv4 is ::ffff:0:0/96 + n: its prefix length here is 96 more than people write. */
struct route_key {
	__u32 prefixlen;
	__u8 address[16];
};

struct route_value {
	__u32 route_id;
	/* The prefix length that matched, as in the key: a lookup does not return it. */
	__u8 length;
	__u8 pad[3];
};

struct route_attributes {
	__u32 cluster;
	__u32 origin_asn;
	__u32 peer;
	__u32 flags;
	__u8 next_hop[16];
	/* RFC 1997, high 16 bits = ASN. */
	__u32 community;
	__u32 reserved[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, ROUTES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct route_key);
	__type(value, struct route_value);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ROUTES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct route_attributes);
} route_attributes SEC(".maps");

static __always_inline __u32 route_of(const __u8 *address)
{
	struct route_key key = { .prefixlen = 128 };
	struct route_value *value;

	__builtin_memcpy(key.address, address, 16);
	value = bpf_map_lookup_elem(&routes, &key);
	return value ? value->route_id : ROUTE_UNKNOWN;
}

#endif
