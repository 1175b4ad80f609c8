/* Which backend a packet goes to: the same answer on every node, and pinned once given. */
#ifndef WAGGLE_BALANCE_H
#define WAGGLE_BALANCE_H

/* A SYN on a connection that was heard of in this time is a repetition and stays where it is. */
#define SYN_REPEAT_SECONDS 15

struct choice {
	/* The local backend, or the node to tunnel to. */
	__u8 address[16];
	__be16 port;
	__u8 local;
	__u8 second_hop;
};

static __always_inline __u32 mix(__u32 hash, __be32 word)
{
	__u32 k = bpf_ntohl(word) * 0xcc9e2d51;

	k = (k << 15 | k >> 17) * 0x1b873593;
	hash ^= k;
	return (hash << 13 | hash >> 19) * 5 + 0xe6546b64;
}

/* MurmurHash3 over client, VIP, ports and protocol. src/datapath/maglev.ts computes the same. */
static __always_inline __u32 flow_hash(const struct packet *packet)
{
	__u32 hash = 0x57616767;

	hash = mix(hash, packet->source.words[0]);
	hash = mix(hash, packet->source.words[1]);
	hash = mix(hash, packet->source.words[2]);
	hash = mix(hash, packet->source.words[3]);
	hash = mix(hash, packet->destination.words[0]);
	hash = mix(hash, packet->destination.words[1]);
	hash = mix(hash, packet->destination.words[2]);
	hash = mix(hash, packet->destination.words[3]);
	hash = mix(hash, bpf_htonl((__u32)bpf_ntohs(packet->source_port) << 16 |
				   bpf_ntohs(packet->destination_port)));
	hash = mix(hash, bpf_htonl(packet->protocol));
	hash ^= hash >> 16;
	hash *= 0x85ebca6b;
	hash ^= hash >> 13;
	hash *= 0xc2b2ae35;
	return hash ^ hash >> 16;
}

/* Maps 32 bits evenly to 0..slots-1, in a way of which the verifier can tell the bounds. */
static __always_inline __u32 slot_of(__u32 hash, __u32 slots)
{
	__u64 bounded = hash;

	/* Older verifiers (6.1 among them) take the hash's last exclusive or for 64 unknown bits. The truncation, which the
	 * compiler would rightly leave out, tells them better. */
	asm volatile("" : "+r"(bounded));
	return (__u64)(__u32)bounded * slots >> 32;
}

static __always_inline __u32 seconds(void)
{
	return bpf_ktime_get_coarse_ns() / 1000000000;
}

static __always_inline void to_server_key(struct connection_key *key, const struct packet *packet)
{
	__builtin_memset(key, 0, sizeof(*key));
	__builtin_memcpy(key->client, packet->source.bytes, 16);
	__builtin_memcpy(key->server, packet->destination.bytes, 16);
	key->client_port = packet->source_port;
	key->server_port = packet->destination_port;
	key->protocol = packet->protocol;
	key->direction = TO_SERVER;
}

static __always_inline struct service *service_of(const struct packet *packet)
{
	struct service_key key = {
		.port = packet->destination_port,
		.protocol = packet->protocol,
	};

	__builtin_memcpy(key.vip, packet->destination.bytes, 16);
	return bpf_map_lookup_elem(&services, &key);
}

static __always_inline int is_first_syn(const struct packet *packet)
{
	return packet->protocol == PROTOCOL_TCP && (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Notes what a packet of a known connection says about it. */
static __always_inline void touch(struct connection *connection, const struct packet *packet)
{
	__u32 now = seconds();
	__u8 flags = connection->flags;

	if (packet->protocol == PROTOCOL_TCP) {
		/* A SYN that is repeated to nobody must not keep its binding alive: see binds(). */
		if (is_first_syn(packet))
			return;
		if (packet->tcp_flags & (TCP_FIN | TCP_RST))
			flags |= CONNECTION_CLOSING;
		else if (!(packet->tcp_flags & TCP_SYN))
			flags |= CONNECTION_ESTABLISHED;
	}
	/* Written only on a change: the line is shared between CPUs. */
	if (flags != connection->flags)
		connection->flags = flags;
	if (now != connection->last_seen)
		connection->last_seen = now;
}

/* Whether a known connection still binds this packet. */
static __always_inline int binds(const struct connection *connection, const struct packet *packet)
{
	if (!is_first_syn(packet))
		return 1;
	return !(connection->flags & CONNECTION_CLOSING) &&
	       seconds() - connection->last_seen < SYN_REPEAT_SECONDS;
}

/* By the tables alone. `local_only`: among this node's own. Returns 0, or -1 if nobody is there. */
static __always_inline int choose(struct __sk_buff *skb, const struct packet *packet, struct service *service,
				  int local_only, struct choice *choice)
{
	__u32 hash = flow_hash(packet);
	struct backend *backend;
	__u32 index;

	if (!local_only) {
		if (service->backend_count == 0)
			return -1;
		index = service->slots[slot_of(hash, MAGLEV_SLOTS)];
		backend = &service->backends[index & (BACKENDS_MAX - 1)];
		if (!(backend->flags & BACKEND_LOCAL)) {
			__builtin_memcpy(choice->address, backend->node, 16);
			choice->port = 0;
			choice->local = 0;
			if (packet->proof)
				skb->cb[1] = index + 1;
			return 0;
		}
	}
	/* Also where the first table says that the backend is here: a packet that entered by another node is
	 * chosen for by this table, and the answer must not depend on where it entered. */
	if (service->local_count == 0)
		return -1;
	index = service->local_slots[slot_of(hash * 0x9e3779b1, MAGLEV_LOCAL_SLOTS)];
	backend = &service->backends[index & (BACKENDS_MAX - 1)];
	__builtin_memcpy(choice->address, backend->address, 16);
	choice->port = backend->port;
	choice->local = 1;
	if (packet->proof)
		skb->cb[1] = index + 1;
	return 0;
}

/* The way back: what the backend answers is found by this entry. Made again if it was lost. */
static __always_inline void ensure_reverse(const struct packet *packet, const struct choice *choice)
{
	struct connection reverse = {
		.port = packet->destination_port,
		.last_seen = seconds(),
	};
	struct connection_key key = {
		.client_port = packet->source_port,
		.server_port = choice->port,
		.protocol = packet->protocol,
		.direction = TO_CLIENT,
	};
	struct connection *known;

	__builtin_memcpy(key.client, packet->source.bytes, 16);
	__builtin_memcpy(key.server, choice->address, 16);
	known = bpf_map_lookup_elem(&connections, &key);
	/* The same client port may have reached this backend by another of its VIPs before. */
	if (known && known->port == packet->destination_port &&
	    same_address((union address *)known->address, &packet->destination))
		return;
	__builtin_memcpy(reverse.address, packet->destination.bytes, 16);
	bpf_map_update_elem(&connections, &key, &reverse, BPF_ANY);
}

/*
 * By connection table, else by the tables of the service. `local_only`: the packet came out of the tunnel.
 * `may_forward`: and this node may send it on to where the connection lives. Returns 0, or -1 if nobody is there.
 */
static __always_inline int balance(struct __sk_buff *skb, const struct packet *packet, struct service *service,
				   int local_only, int may_forward, struct choice *choice)
{
	struct connection_key key;
	struct connection *known;
	struct connection fresh = { .last_seen = seconds() };

	choice->second_hop = 0;
	if (packet->proof)
		return choose(skb, packet, service, local_only, choice);
	to_server_key(&key, packet);
	known = bpf_map_lookup_elem(&connections, &key);
	if (known && binds(known, packet)) {
		choice->local = known->flags & CONNECTION_LOCAL;
		if (choice->local || !local_only || may_forward) {
			__builtin_memcpy(choice->address, known->address, 16);
			choice->port = known->port;
			choice->second_hop = local_only;
			touch(known, packet);
			if (choice->local)
				ensure_reverse(packet, choice);
			return 0;
		}
	}
	if (choose(skb, packet, service, local_only, choice) < 0)
		return -1;
	__builtin_memcpy(fresh.address, choice->address, 16);
	fresh.port = choice->port;
	fresh.flags = choice->local ? CONNECTION_LOCAL : 0;
	touch(&fresh, packet);
	bpf_map_update_elem(&connections, &key, &fresh, BPF_ANY);
	if (choice->local)
		ensure_reverse(packet, choice);
	return 0;
}

#endif
