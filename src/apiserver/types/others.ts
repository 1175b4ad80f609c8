// apiserver/types: tables of the built-in types outside the core group, with their protobuf numbers.

/** OpenAPI package: io.k8s.api.coordination.v1. */
export const coordinationTypes = `
type Lease | A lock with an expiry, for leader election and heartbeats.
1 metadata ObjectMeta | Standard metadata.
2 spec LeaseSpec | Who holds the lease and until when.
type LeaseSpec
1 holderIdentity string | Who holds the lease.
2 leaseDurationSeconds int32 | Seconds after renewTime for which the lease holds.
3 acquireTime MicroTime | When the holder got it.
4 renewTime MicroTime | When the holder renewed it last.
5 leaseTransitions int32 | How often the holder changed.
6 strategy string | How a coordinated election picks the leader.
7 preferredHolder string | Who the holder should hand over to.
`;

/** OpenAPI package: io.k8s.api.discovery.v1. */
export const discoveryTypes = `
type EndpointSlice | Some of the endpoints of a Service. All slices with the label kubernetes.io/service-name together are the whole.
1 metadata ObjectMeta | Standard metadata.
4 addressType! string enum=FQDN,IPv4,IPv6 | What the addresses are. Cannot be changed.
2 endpoints! []Endpoint list=atomic zero=null | The endpoints.
3 ports []EndpointPort list=atomic zero=null | The ports that every endpoint of this slice has.
type Endpoint
1 addresses! []string list=set | Addresses of the endpoint; consumers use the first.
2 conditions EndpointConditions | Whether the endpoint takes traffic.
3 hostname string
4 targetRef *ObjectReference | The pod behind it.
5 deprecatedTopology map<string>
6 nodeName string | The node that the endpoint is on.
7 zone string
8 hints *EndpointHints
type EndpointConditions
1 ready bool | True: takes new traffic. Not set counts as true.
2 serving bool | Like ready, and stays true while the endpoint ends.
3 terminating bool | True: the endpoint is going away.
type EndpointHints
1 forZones []ForZone list=atomic
2 forNodes []ForNode list=atomic
type ForZone
1 name! string
type ForNode
1 name! string
type EndpointPort
1 name string default="" | Name of the port, as in the Service.
2 protocol string default="TCP"
3 port int32 | Number of the port.
4 appProtocol string
`;

/** OpenAPI package: io.k8s.api.networking.v1. */
export const networkingTypes = `
type ServiceCIDR | A range from which Services get their cluster addresses.
1 metadata ObjectMeta | Standard metadata.
2 spec ServiceCIDRSpec
3 status ServiceCIDRStatus
type ServiceCIDRSpec
1 cidrs []string list=atomic | One block a family at most. Cannot be changed.
type ServiceCIDRStatus
1 conditions []Condition list=map:type merge=type
type IPAddress | One address that is in use, named by the address itself.
1 metadata ObjectMeta | Standard metadata.
2 spec IPAddressSpec
type IPAddressSpec
1 parentRef *ParentReference | Who uses the address.
type ParentReference
1 group string
2 resource string
3 namespace string
4 name string
`;

/** OpenAPI package: io.k8s.api.events.v1. */
export const eventsTypes = `
type EventsV1Event | Something that happened to an object.
1 metadata ObjectMeta | Standard metadata.
2 eventTime! MicroTime zero=null | When it was seen first.
3 series *EventsV1EventSeries | Set if the event goes on happening.
4 reportingController string | Name of the controller that reports.
5 reportingInstance string | Which instance of it.
6 action string | What was done or failed.
7 reason string | One word for programs.
8 regarding ObjectReference | The object that the event is about.
9 related *ObjectReference | A second object, for actions on two.
10 note string | A sentence for people.
11 type string | Normal or Warning.
12 deprecatedSource EventSource
13 deprecatedFirstTimestamp Time zero=null
14 deprecatedLastTimestamp Time zero=null
15 deprecatedCount int32
type EventsV1EventSeries
1 count! int32
2 lastObservedTime! MicroTime
`;

/** OpenAPI package: io.k8s.api.rbac.v1. */
export const rbacTypes = `
type Role | What may be done in one namespace.
1 metadata ObjectMeta | Standard metadata.
2 rules []PolicyRule list=atomic zero=null | The permissions.
type ClusterRole | What may be done in the whole cluster, or wherever it is bound.
1 metadata ObjectMeta | Standard metadata.
2 rules []PolicyRule list=atomic zero=null | The permissions.
3 aggregationRule *AggregationRule | Roles whose rules are added to this one.
type AggregationRule
1 clusterRoleSelectors []LabelSelector list=atomic
type PolicyRule | What may be done to what.
1 verbs! []string list=atomic | get, list, watch, create, update, patch, delete, deletecollection or *.
2 apiGroups []string list=atomic | Groups of the resources; empty text is the core group.
3 resources []string list=atomic | Resources, or resource/subresource.
4 resourceNames []string list=atomic | Only objects of these names. Empty is all.
5 nonResourceURLs []string list=atomic | Paths outside the API's objects, as /healthz.
type RoleBinding | Gives a role's permissions to subjects, in one namespace.
1 metadata ObjectMeta | Standard metadata.
2 subjects []Subject list=atomic | Who gets them.
3 roleRef! RoleRef | The role. Cannot be changed.
type ClusterRoleBinding | Gives a role's permissions to subjects, in the whole cluster.
1 metadata ObjectMeta | Standard metadata.
2 subjects []Subject list=atomic | Who gets them.
3 roleRef! RoleRef | The role. Cannot be changed.
type Subject atomic
1 kind! string | User, Group or ServiceAccount.
2 apiGroup string
3 name! string
4 namespace string
type RoleRef atomic
1 apiGroup! string
2 kind! string
3 name! string
`;

/** OpenAPI package: io.k8s.api.authentication.v1. */
export const authenticationTypes = `
type TokenRequest | Asks for a token of a service account.
1 metadata ObjectMeta
2 spec! TokenRequestSpec
3 status TokenRequestStatus
type TokenRequestSpec
1 audiences! []string list=atomic | Who the token is for. Empty: the API server.
3 boundObjectRef *BoundObjectReference | The token ends with this object.
4 expirationSeconds int64 | For how long it should hold.
type BoundObjectReference
1 kind string
2 apiVersion string
3 name string
4 uid string
type TokenRequestStatus
1 token! string
2 expirationTimestamp! Time
type TokenReview | Asks whose token this is.
1 metadata ObjectMeta
2 spec! TokenReviewSpec
3 status TokenReviewStatus
type TokenReviewSpec
1 token string
2 audiences []string list=atomic | Who the asker is. Empty: the API server.
type TokenReviewStatus
1 authenticated bool
2 user UserInfo
3 error string
4 audiences []string list=atomic
type UserInfo
1 username string
2 uid string
3 groups []string list=atomic
- extra object
type SelfSubjectReview | Asks who the asker is.
1 metadata ObjectMeta
2 status SelfSubjectReviewStatus
type SelfSubjectReviewStatus
1 userInfo UserInfo
`;

/** OpenAPI package: io.k8s.api.authorization.v1. */
export const authorizationTypes = `
type SelfSubjectAccessReview | Asks whether the asker may do something.
1 metadata ObjectMeta
2 spec! SelfSubjectAccessReviewSpec
3 status SubjectAccessReviewStatus
type SelfSubjectAccessReviewSpec
1 resourceAttributes *ResourceAttributes
2 nonResourceAttributes *NonResourceAttributes
type SubjectAccessReview | Asks whether somebody may do something.
1 metadata ObjectMeta
2 spec! SubjectAccessReviewSpec
3 status SubjectAccessReviewStatus
type LocalSubjectAccessReview | Asks whether somebody may do something in one namespace.
1 metadata ObjectMeta
2 spec! SubjectAccessReviewSpec
3 status SubjectAccessReviewStatus
type SubjectAccessReviewSpec
1 resourceAttributes *ResourceAttributes
2 nonResourceAttributes *NonResourceAttributes
3 user string
4 groups []string list=atomic
- extra object
6 uid string
type ResourceAttributes
1 namespace string
2 verb string
3 group string
4 version string
5 resource string
6 subresource string
7 name string
- fieldSelector object
- labelSelector object
type NonResourceAttributes
1 path string
2 verb string
type SubjectAccessReviewStatus
1 allowed! bool
2 reason string
3 evaluationError string
4 denied bool
type SelfSubjectRulesReview | Asks for all that the asker may do in a namespace.
1 metadata ObjectMeta
2 spec! SelfSubjectRulesReviewSpec
3 status SubjectRulesReviewStatus
type SelfSubjectRulesReviewSpec
1 namespace string
type SubjectRulesReviewStatus
1 resourceRules! []ResourceRule list=atomic
2 nonResourceRules! []NonResourceRule list=atomic
3 incomplete! bool
4 evaluationError string
type ResourceRule
1 verbs! []string list=atomic
2 apiGroups []string list=atomic
3 resources []string list=atomic
4 resourceNames []string list=atomic
type NonResourceRule
1 verbs! []string list=atomic
2 nonResourceURLs []string list=atomic
`;

/** OpenAPI package: io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1. No client sends these as protobuf. */
export const apiextensionsTypes = `
type CustomResourceDefinition | A kind that this cluster adds to the API.
- metadata ObjectMeta | Standard metadata; the name is plural.group.
- spec! CustomResourceDefinitionSpec | The kind.
- status CustomResourceDefinitionStatus | Whether the kind is served.
type CustomResourceDefinitionSpec
- group! string | API group of the kind.
- names! CustomResourceDefinitionNames | Names of the kind.
- scope! string | Cluster or Namespaced.
- versions! []CustomResourceDefinitionVersion list=atomic | Versions of the kind.
- conversion *CustomResourceConversion | How versions become each other.
- preserveUnknownFields bool | Old; must be false.
type CustomResourceDefinitionNames
- plural! string
- singular string
- shortNames []string list=atomic
- kind! string
- listKind string
- categories []string list=atomic
type CustomResourceConversion
- strategy! string | None or Webhook.
- webhook object
type CustomResourceDefinitionVersion
- name! string
- served! bool
- storage! bool
- deprecated bool
- deprecationWarning string
- schema *CustomResourceValidation
- subresources *CustomResourceSubresources
- additionalPrinterColumns []CustomResourceColumnDefinition list=atomic
- selectableFields []SelectableField list=atomic
type CustomResourceValidation
- openAPIV3Schema *JSONSchemaProps | The structural schema.
type JSONSchemaProps | A node of a schema.
- $schema string
- $ref string
- id string
- description string
- type string
- format string
- title string
- default any
- maximum double
- exclusiveMaximum bool
- minimum double
- exclusiveMinimum bool
- maxLength int64
- minLength int64
- pattern string
- maxItems int64
- minItems int64
- uniqueItems bool
- multipleOf double
- enum []any list=atomic
- maxProperties int64
- minProperties int64
- required []string list=atomic
- items JSONSchemaProps?
- allOf []JSONSchemaProps list=atomic
- oneOf []JSONSchemaProps list=atomic
- anyOf []JSONSchemaProps list=atomic
- not *JSONSchemaProps
- properties map<JSONSchemaProps>
- additionalProperties JSONSchemaProps?
- patternProperties map<JSONSchemaProps>
- dependencies object
- additionalItems JSONSchemaProps?
- definitions map<JSONSchemaProps>
- externalDocs object
- example any
- nullable bool
- x-kubernetes-preserve-unknown-fields bool
- x-kubernetes-embedded-resource bool
- x-kubernetes-int-or-string bool
- x-kubernetes-list-map-keys []string list=atomic
- x-kubernetes-list-type string
- x-kubernetes-map-type string
- x-kubernetes-validations []ValidationRule list=map:rule
type ValidationRule | A rule in CEL.
- rule! string
- message string
- messageExpression string
- reason string
- fieldPath string
- optionalOldSelf bool
type CustomResourceSubresources
- status object
- scale *CustomResourceSubresourceScale
type CustomResourceSubresourceScale
- specReplicasPath! string
- statusReplicasPath! string
- labelSelectorPath string
type SelectableField
- jsonPath! string
type CustomResourceColumnDefinition
- name! string
- type! string
- format string
- description string
- priority int32
- jsonPath! string
type CustomResourceDefinitionStatus
- conditions []CustomResourceDefinitionCondition list=map:type
- acceptedNames CustomResourceDefinitionNames
- storedVersions []string list=atomic
type CustomResourceDefinitionCondition
- type! string
- status! string
- lastTransitionTime Time
- reason string
- message string
- observedGeneration int64
`;

/** OpenAPI package: io.k8s.api.autoscaling.v1. */
export const autoscalingTypes = `
type Scale | The number of replicas of something.
1 metadata ObjectMeta
2 spec ScaleSpec
3 status ScaleStatus
type ScaleSpec
1 replicas int32
type ScaleStatus
1 replicas! int32
2 selector string
`;
