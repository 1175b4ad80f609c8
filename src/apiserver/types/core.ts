// apiserver/types: tables of the core group's types, with the protobuf numbers of k8s.io/api/core/v1.

/** OpenAPI package: io.k8s.api.core.v1. */
export const coreTypes = `
type Namespace | A scope for names. Deleting it deletes everything in it.
1 metadata ObjectMeta | Standard metadata.
2 spec NamespaceSpec | How the namespace behaves.
3 status NamespaceStatus | What state it is in.
type NamespaceSpec
1 finalizers []string list=atomic | Who must act before the namespace goes.
type NamespaceStatus
1 phase string | Active or Terminating.
2 conditions []NamespaceCondition list=map:type merge=type | Why a deletion has not finished.
type NamespaceCondition
1 type! string
2 status! string
4 lastTransitionTime Time zero=null
5 reason string
6 message string
type ConfigMap | Configuration as keys and values.
1 metadata ObjectMeta | Standard metadata.
2 data map<string> | Values that are text.
3 binaryData map<bytes> | Values that are bytes, as base64.
4 immutable bool | True: data cannot be changed any more.
type Secret | Values that only few may read, as base64.
1 metadata ObjectMeta | Standard metadata.
2 data map<bytes> | The values, as base64.
3 type string | What the values are for. Cannot be changed.
4 stringData map<string> | Values as text, for writing only: they are moved into data.
5 immutable bool | True: data cannot be changed any more.
type ServiceAccount | An identity for programs.
1 metadata ObjectMeta | Standard metadata.
2 secrets []ObjectReference list=map:name merge=name | Secrets that pods of this account may use.
3 imagePullSecrets []LocalObjectReference list=atomic | Secrets for pulling images.
4 automountServiceAccountToken bool | Whether pods get a token mounted.
type ObjectReference atomic | Points at an object.
1 kind string
2 namespace string
3 name string
4 uid string
5 apiVersion string
6 resourceVersion string
7 fieldPath string | The part of the object that is meant.
type LocalObjectReference atomic
1 name string default=""
type Service | A name and addresses for a set of endpoints.
1 metadata ObjectMeta | Standard metadata.
2 spec ServiceSpec | What the Service offers and how it is reached.
3 status ServiceStatus | What has been set up for it.
type ServiceSpec
1 ports []ServicePort list=map:port,protocol merge=port | The ports that the Service offers.
2 selector map<string> atomic | Labels of the pods behind the Service. Empty: somebody else writes the EndpointSlices.
3 clusterIP string | Address inside the cluster: given, asked for, or None for a headless Service. Cannot be changed once set.
4 type string default="ClusterIP" enum=ClusterIP,ExternalName,LoadBalancer,NodePort | ClusterIP, NodePort, LoadBalancer or ExternalName.
5 externalIPs []string list=atomic | Further addresses at which nodes accept traffic for the Service.
7 sessionAffinity string default="None" enum=ClientIP,None | ClientIP sends a client to the same endpoint each time.
8 loadBalancerIP string | Deprecated: the address asked of the load balancer.
9 loadBalancerSourceRanges []string list=atomic | Clients that the load balancer lets in.
10 externalName string | The DNS name that an ExternalName Service stands for.
11 externalTrafficPolicy string enum=Cluster,Local | Local keeps traffic from outside on the node where it came in, and the client's address with it.
12 healthCheckNodePort int32 | Port at which nodes tell whether they have local endpoints; for externalTrafficPolicy Local.
13 publishNotReadyAddresses bool | True: endpoints that are not ready count as ready.
14 sessionAffinityConfig *SessionAffinityConfig | Settings of sessionAffinity.
17 ipFamilyPolicy string enum=PreferDualStack,RequireDualStack,SingleStack | One address family or two.
18 clusterIPs []string list=atomic | One address for each family.
19 ipFamilies []string list=atomic | IPv4, IPv6 or both, in order of preference.
20 allocateLoadBalancerNodePorts bool | False: a LoadBalancer Service gets no node ports.
21 loadBalancerClass string | Which implementation is to serve the Service. Cannot be changed while the type is LoadBalancer.
22 internalTrafficPolicy string enum=Cluster,Local | Local keeps traffic from inside on the node where it came from.
23 trafficDistribution string | A preference for near endpoints, as PreferClose.
type ServicePort | One port of a Service.
1 name string | Needed where there is more than one port.
2 protocol string default="TCP" enum=SCTP,TCP,UDP | TCP, UDP or SCTP.
3 port! int32 | Where clients connect.
4 targetPort IntOrString | Number or name of the port at the endpoints; the same as port if not set.
5 nodePort int32 | Port on every node, for NodePort and LoadBalancer.
6 appProtocol string | What is spoken on the port.
type SessionAffinityConfig
1 clientIP *ClientIPConfig
type ClientIPConfig
1 timeoutSeconds int32 | Seconds of silence after which a client is forgotten.
type ServiceStatus
1 loadBalancer LoadBalancerStatus | Where the load balancer accepts traffic.
2 conditions []Condition list=map:type merge=type | The state of the Service.
type LoadBalancerStatus
1 ingress []LoadBalancerIngress list=atomic | The entry points.
type LoadBalancerIngress
1 ip string | Address of the entry point.
2 hostname string | Name of the entry point.
3 ipMode string enum=Proxy,VIP | VIP: packets arrive with the address as destination; Proxy: they come from the balancer.
4 ports []PortStatus list=atomic | The state of each port.
type PortStatus
1 port! int32
2 protocol! string
3 error string | Why the port could not be served.
type Node | A machine of the cluster.
1 metadata ObjectMeta | Standard metadata.
2 spec NodeSpec | How the node is to behave.
3 status NodeStatus | What the node says of itself.
type NodeSpec
1 podCIDR string | The first of podCIDRs.
3 providerID string | The machine's identity at the provider.
4 unschedulable bool | True: no new pods.
5 taints []Taint list=atomic | What keeps pods away.
7 podCIDRs []string list=set merge= | Address blocks for the pods of this node, one a family at most.
type Taint
1 key! string | The taint's name.
2 value string
3 effect! string | NoSchedule, PreferNoSchedule or NoExecute.
4 timeAdded Time
type NodeStatus
1 capacity map<Quantity> | What the node has.
2 allocatable map<Quantity> | What pods may use of it.
3 phase string
4 conditions []NodeCondition list=map:type merge=type | Ready and other conditions.
5 addresses []NodeAddress list=atomic | Addresses and names of the node.
6 daemonEndpoints NodeDaemonEndpoints | Ports of the node's daemons.
7 nodeInfo NodeSystemInfo | Software and identity of the node.
8 images []ContainerImage list=atomic | Images on the node.
9 volumesInUse []string list=atomic
type NodeCondition
1 type! string
2 status! string
3 lastHeartbeatTime Time zero=null
4 lastTransitionTime Time zero=null
5 reason string
6 message string
type NodeAddress
1 type! string | Hostname, InternalIP, ExternalIP, InternalDNS or ExternalDNS.
2 address! string
type NodeDaemonEndpoints
1 kubeletEndpoint DaemonEndpoint
type DaemonEndpoint
1 Port! int32 zero=0
type NodeSystemInfo
1 machineID! string zero=""
2 systemUUID! string zero=""
3 bootID! string zero=""
4 kernelVersion! string zero=""
5 osImage! string zero=""
6 containerRuntimeVersion! string zero=""
7 kubeletVersion! string zero=""
8 kubeProxyVersion! string zero=""
9 operatingSystem! string zero=""
10 architecture! string zero=""
type ContainerImage
1 names []string list=atomic
2 sizeBytes int64
type Event | Something that happened to an object.
1 metadata! ObjectMeta | Standard metadata.
2 involvedObject! ObjectReference | The object that the event is about.
3 reason string | One word for programs.
4 message string | A sentence for people.
5 source EventSource | Who reports.
6 firstTimestamp Time zero=null | When it happened first.
7 lastTimestamp Time zero=null | When it happened last.
8 count int32 | How often it has happened.
9 type string | Normal or Warning.
10 eventTime MicroTime zero=null | When it was seen first.
11 series *EventSeries | Set if the event goes on happening.
12 action string | What was done or failed.
13 related *ObjectReference | A second object, for actions on two.
14 reportingComponent string zero="" | Name of the controller that reports.
15 reportingInstance string zero="" | Which instance of it.
type EventSource
1 component string
2 host string
type EventSeries
1 count int32 | How often so far.
2 lastObservedTime MicroTime | When last.
type Pod | Containers that run together on one node.
1 metadata ObjectMeta | Standard metadata.
2 spec PodSpec | What is to run.
3 status PodStatus | What runs.
type PodSpec open
- containers []Container list=map:name merge=name zero=null | The containers.
- initContainers []Container list=map:name merge=name | Containers that run first, one after the other.
- restartPolicy string default="Always" enum=Always,Never,OnFailure | What happens when a container ends.
- terminationGracePeriodSeconds int64 default=30 | Seconds between asking and killing.
- dnsPolicy string default="ClusterFirst"
- nodeSelector map<string> atomic | Labels that the node must have.
- serviceAccountName string | Identity of the pod.
- serviceAccount string | Old name of serviceAccountName.
- automountServiceAccountToken bool
- nodeName string | The node that runs the pod.
- hostNetwork bool | True: the pod is in the node's network namespace.
- hostname string
- schedulerName string default="default-scheduler"
- priorityClassName string
- tolerations []Toleration list=atomic | Taints that do not keep the pod away.
- enableServiceLinks bool default=true
type Container open
- name! string | Unique within the pod.
- image string | What to run.
- command []string list=atomic
- args []string list=atomic
- imagePullPolicy string
- ports []ContainerPort list=map:containerPort,protocol merge=containerPort
- terminationMessagePath string default="/dev/termination-log"
- terminationMessagePolicy string default="File"
- resources object zero={}
type ContainerPort
- name string
- hostPort int32
- containerPort! int32
- protocol string default="TCP"
- hostIP string
type Toleration
- key string
- operator string
- value string
- effect string
- tolerationSeconds int64
type PodStatus open
- phase string | Pending, Running, Succeeded, Failed or Unknown.
- conditions []PodCondition list=map:type merge=type
- message string
- reason string
- hostIP string | Address of the node.
- hostIPs []HostIP list=atomic
- podIP string | Address of the pod.
- podIPs []PodIP list=map:ip merge=ip | Addresses of the pod, one a family.
- startTime Time
- containerStatuses []ContainerStatus list=atomic
- qosClass string
type PodCondition
- type! string
- status! string
- observedGeneration int64
- lastProbeTime Time zero=null
- lastTransitionTime Time zero=null
- reason string
- message string
type HostIP
- ip! string
type PodIP
- ip! string
type ContainerStatus open
- name! string
- ready! bool
- restartCount! int32
- image! string
- imageID! string
`;
