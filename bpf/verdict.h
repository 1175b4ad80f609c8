/* What is told about a packet: counters, and to a proof the decision in skb->cb. */
#ifndef WAGGLE_VERDICT_H
#define WAGGLE_VERDICT_H

/* Same values in tcx and in clsact: on to the next program, or to the stack. */
#define NEXT TC_ACT_UNSPEC
#define DROP TC_ACT_SHOT

/* skb->cb[0] of a proof: which counter the packet would have moved, plus one. cb[1]: the backend's index plus one. */
static __always_inline void tell(struct __sk_buff *skb, const struct packet *packet, __u32 what)
{
	__u64 *count;

	if (packet->proof) {
		skb->cb[0] = what + 1;
		return;
	}
	count = bpf_map_lookup_elem(&counters, &what);
	if (count)
		*count += 1;
}

static __always_inline void count_flow(struct __sk_buff *skb, const struct packet *packet,
				       const union address *source, const union address *destination)
{
	struct flow first = {};
	struct flow_key key;
	struct flow *flow;

	if (packet->proof)
		return;
	key.source_route = route_of(source->bytes);
	key.destination_route = route_of(destination->bytes);
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow) {
		/* Another CPU may be quicker: then there is an entry all the same. */
		bpf_map_update_elem(&flows, &key, &first, BPF_NOEXIST);
		flow = bpf_map_lookup_elem(&flows, &key);
		if (!flow) {
			tell(skb, packet, COUNT_FLOW_REFUSED);
			return;
		}
	}
	flow->packets += skb->gso_segs ? skb->gso_segs : 1;
	flow->bytes += skb->len;
}

#endif
