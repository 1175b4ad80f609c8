/* The datapath's own maps and the structs in them. Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d;
 * ports are in network order; everything else is in host order. src/datapath/codec.ts has the same layouts, and a
 * test compares both by the object's BTF. */
#ifndef WAGGLE_MAPS_H
#define WAGGLE_MAPS_H

/* A service takes memory (14 KiB) when it is there, and none before. */
#define SERVICES_MAX 16384
#define VIPS_MAX 16384
#define CONNECTIONS_MAX 65536
#define LOCAL_PREFIXES_MAX 256
#define FLOWS_MAX 8192
#define BACKENDS_MAX 256

/* Both prime. The first spreads over all backends of a service, the second over this node's own. */
#define MAGLEV_SLOTS 4093
#define MAGLEV_LOCAL_SLOTS 1021

/* skb->mark of a proof. Such a packet leaves no trace in any map; the verdict is told in skb->cb. */
#define PROOF_MARK 0x5761676c

/* Network identifiers of the tunnel: a packet's first hop between nodes, and its second and last. */
#define TUNNEL_VNI 0x776167
#define TUNNEL_VNI_LAST 0x776168

struct settings {
	__u32 tunnel_ifindex;
	/* Largest MSS with which a tunnelled packet still fits; 0 = leave it. */
	__u16 mss_ipv4;
	__u16 mss_ipv6;
	__u32 reserved[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

/* Packets from the fabric may enter here. */
#define FLAG_ENTRY 1

struct vip {
	__u32 flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, VIPS_MAX);
	__type(key, __u8[16]);
	__type(value, struct vip);
} vips SEC(".maps");

struct service_key {
	__u8 vip[16];
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

#define BACKEND_LOCAL 1

struct backend {
	__u8 address[16];
	/* Where to tunnel to, unless local. */
	__u8 node[16];
	__be16 port;
	__u8 flags;
	__u8 pad;
};

/* A service whole: tables and backends change in one update, so no packet sees half of it. */
struct service {
	__u32 flags;
	__u16 backend_count;
	__u16 local_count;
	__u8 slots[MAGLEV_SLOTS];
	__u8 local_slots[MAGLEV_LOCAL_SLOTS];
	__u8 pad[2];
	struct backend backends[BACKENDS_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SERVICES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct service_key);
	__type(value, struct service);
} services SEC(".maps");

enum connection_direction {
	TO_SERVER = 0, /* `server` is the VIP */
	TO_CLIENT = 1, /* `server` is the backend */
};

struct connection_key {
	__u8 client[16];
	__u8 server[16];
	__be16 client_port;
	__be16 server_port;
	__u8 protocol;
	__u8 direction;
	__u8 pad[2];
};

#define CONNECTION_LOCAL 1
#define CONNECTION_ESTABLISHED 2
#define CONNECTION_CLOSING 4

struct connection {
	/* TO_SERVER: the local backend, or the node to tunnel to. TO_CLIENT: the VIP. */
	__u8 address[16];
	__be16 port;
	__u8 flags;
	__u8 pad;
	/* Seconds of the kernel's monotonic clock. */
	__u32 last_seen;
#ifdef WAGGLE_EXTRA_FIELD
	/* A field more, to show that layouts can be changed under traffic. */
	__u64 extra;
#endif
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CONNECTIONS_MAX);
	__type(key, struct connection_key);
	__type(value, struct connection);
} connections SEC(".maps");

struct local_prefix_key {
	__u32 prefixlen;
	__u8 address[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, LOCAL_PREFIXES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct local_prefix_key);
	__type(value, __u32);
} local_prefixes SEC(".maps");

struct flow_key {
	__u32 source_route;
	__u32 destination_route;
};

struct flow {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, FLOWS_MAX);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

/* src/datapath/codec.ts has the names. */
enum counter {
	COUNT_LOCAL_PREFIX,       /* packets from the fabric to this node's pods */
	COUNT_VIP_LOCAL,          /* to a VIP, delivered here */
	COUNT_VIP_TUNNELLED,      /* to a VIP, sent on to the backend's node */
	COUNT_TUNNEL_DELIVERED,   /* out of the tunnel, delivered here */
	COUNT_TUNNEL_FORWARDED,   /* out of the tunnel, sent on once more: the connection lives elsewhere */
	COUNT_REPLY,              /* a backend's answer, given the VIP's name */
	COUNT_ECHO,               /* pings answered */
	COUNT_ICMP_ERROR,         /* errors about a connection, delivered or sent on */
	COUNT_NO_SERVICE,         /* dropped: the VIP has no such port */
	COUNT_NO_BACKEND,         /* dropped: nobody is ready */
	COUNT_FRAGMENT,           /* dropped: a fragment has no ports */
	COUNT_UNSUPPORTED,        /* dropped: to a VIP, but neither TCP, UDP nor ICMP that we know */
	COUNT_TUNNEL_STRANGER,    /* dropped: came out of the tunnel and is nothing of ours */
	COUNT_TUNNEL_FAILED,      /* dropped: could not be put into the tunnel */
	COUNT_FLOW_REFUSED,       /* not counted as a flow: the map is full */
	COUNT_MSS_CLAMPED,
	COUNTERS_MAX,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS_MAX);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

#endif
