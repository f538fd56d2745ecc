//! The keys that say nothing of routes and rules (systemd.network(5)).

/// What may stand in a section that is passed over.
pub(super) enum Keys {
    /// Anything: nothing there is about routes.
    Any,
    /// These.
    Some(&'static str),
    /// There is no such section.
    Unknown,
}

/// Addresses, queues, bridges and the like.
const OTHERS: &str = "
    Address BandMultiQueueing BFIFO Bridge BridgeFDB BridgeMDB BridgeVLAN CAKE CAN
    ControlledDelay DeficitRoundRobinScheduler DeficitRoundRobinSchedulerClass
    DHCPPrefixDelegation DHCPServer DHCPServerStaticLease DHCPv6PrefixDelegation
    EnhancedTransmissionSelection FairQueueing FairQueueingControlledDelay FlowQueuePIE
    GenericRandomEarlyDetection HeavyHitterFilter HierarchyTokenBucket
    HierarchyTokenBucketClass IPoIB IPv6AddressLabel IPv6PREF64Prefix IPv6Prefix
    IPv6RoutePrefix IPv6SendRA LLDP Match Neighbor NetworkEmulator PFIFO PFIFOFast
    PFIFOHeadDrop PIE QDisc QuickFairQueueing QuickFairQueueingClass SR-IOV StochasticFairBlue
    StochasticFairnessQueueing TokenBucketFilter TrivialLinkEqualizer";

/// What `[Link]` has beside `Group=`.
const LINK: &str = "
    ActivationPolicy AllMulticast ARP MACAddress MTUBytes Multicast Promiscuous
    RequiredFamilyForOnline RequiredForOnline Unmanaged";

/// What `[Network]` has beside `Gateway=`.
const NETWORK: &str = "
    ActiveSlave Address BatmanAdvanced BindCarrier Bond Bridge ConfigureWithoutCarrier
    DefaultRouteOnDevice Description DHCP DHCPPrefixDelegation DHCPServer
    DHCPv6PrefixDelegation DNS DNSDefaultRoute DNSOverTLS DNSSEC DNSSECNegativeTrustAnchors
    Domains EmitLLDP IgnoreCarrierLoss IPForward IPMasquerade IPoIB IPv4AcceptLocal
    IPv4Forwarding IPv4LL IPv4LLRoute IPv4LLStartAddress IPv4ProxyARP IPv4ProxyARPPrivateVLAN
    IPv4ReversePathFilter IPv4RouteLocalnet IPv6AcceptRA IPv6AcceptRouterAdvertisements
    IPv6DuplicateAddressDetection IPv6Forwarding IPv6HopLimit
    IPv6LinkLocalAddressGenerationMode IPv6MTUBytes IPv6PrefixDelegation IPv6PrivacyExtensions
    IPv6ProxyNDP IPv6ProxyNDPAddress IPv6RetransmissionTimeSec IPv6SendRA
    IPv6StableSecretAddress IPv6Token IPVLAN IPVTAP KeepConfiguration KeepMaster L2TP
    LinkLocalAddressing LLDP LLMNR MACsec MACVLAN MACVTAP MPLSRouting MulticastDNS
    MulticastIGMPVersion NTP PrimarySlave ProxyARP Tunnel UseDomains VLAN VRF VXLAN Xfrm";

/// Of what is leased. What comes with a lease or an advertisement is in no file, so neither is a
/// route that `RouteTable=` keeps elsewhere.
const LEASES: &str = "
    AllowList AllowPrefixes AllowRouter Anonymize BlackList BootServerAddress ClientIdentifier
    DenyList DenyPrefixes DenyRouter DHCPv6Client DUIDRawData DUIDType
    FallbackLeaseLifetimeSec Hostname IAID InitialAdvertisedReceiveWindow
    InitialCongestionWindow IPServiceType IPv6OnlyMode Label ListenPort MaxAttempts MUDURL
    NetLabel NFTSet PrefixAllowList PrefixDelegationHint PrefixDenyList QuickAck RapidCommit
    RequestAddress RequestBroadcast RequestOptions RouteAllowList RouteDenyList RouteMetric
    RouterAllowList RouterDenyList RoutesToDNS RoutesToNTP RouteTable SendDecline SendHostname
    SendOption SendRelease SendVendorOption ServerPort SocketPriority Token
    UnassignedSubnetPolicy Use6RD UseAddress UseAutonomousPrefix UseCaptivePortal
    UseDelegatedPrefix UseDNR UseDNS UseDomains UseGateway UseHopLimit UseHostname
    UseICMP6RateLimit UseMTU UseNTP UseOnLinkPrefix UsePREF64 UserClass UseReachableTime
    UseRedirect UseRetransmissionTime UseRoutePrefix UseRoutes UseSIP UseTimezone VendorClass
    VendorClassIdentifier WithoutRA";

/// What may stand in a section.
pub(super) fn of(section: &str) -> Keys {
    match section {
        "Link" => Keys::Some(LINK),
        "Network" => Keys::Some(NETWORK),
        "DHCP" | "DHCPv4" | "DHCPv6" | "IPv6AcceptRA" => Keys::Some(LEASES),
        name if name.starts_with("X-") || holds(OTHERS, name) => Keys::Any,
        _ => Keys::Unknown,
    }
}

/// Whether a list has a key.
pub(super) fn holds(list: &str, key: &str) -> bool {
    list.split_whitespace().any(|k| k == key)
}
