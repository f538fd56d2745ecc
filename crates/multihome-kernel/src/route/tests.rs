use super::*;
use crate::noise::Noise;
use crate::uapi::AF_INET6;

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn via(gateway: &str, link: u32) -> Hop {
    Hop::via(gateway.parse().unwrap(), link)
}

fn v4() -> Route {
    let mut route = Route {
        tos: 0x10,
        metric: 100,
        protocol: 16,
        prefsrc: Some("10.0.0.204".parse().unwrap()),
        hops: vec![Hop { flags: RTNH_F_ONLINK, ..via("10.0.0.1", 3) }],
        ..Route::new(10003, prefix("10.9.0.0/16"))
    };
    route.metrics.values.extend([(2, 1400), (8, 1360), (77, 5)]);
    route.metrics.congctl = Some("bbr".into());
    route
}

fn v6() -> Route {
    Route {
        src: Some(prefix("2001:db8:1::/64")),
        hops: vec![via("fe80::1", 3)],
        preference: 3,
        ..Route::new(254, prefix("::/0"))
    }
}

/// The `rtmsg` of a message as the kernel would send it.
fn header(family: u8, dst_len: u8, kind: u8, flags: u32) -> [u8; HEADER] {
    let mut h = [family, dst_len, 0, 0, 254, 4, 0, kind, 0, 0, 0, 0];
    h[8..12].copy_from_slice(&flags.to_ne_bytes());
    h
}

#[test]
fn what_is_encoded_is_decoded() {
    let two = vec![
        Hop { weight: 4, ..via("10.0.0.1", 3) },
        Hop { flags: RTNH_F_ONLINK, ..via("fe80::1", 4) },
    ];
    let routes = [
        v4(),
        v6(),
        Route { hops: two, ..Route::new(254, prefix("0.0.0.0/0")) },
        Route { hops: vec![via("fe80::2", 4)], ..Route::new(9, prefix("10.0.0.0/8")) },
        Route { hops: vec![Hop::dev(3)], scope: 253, ..Route::new(9, prefix("10.0.0.0/24")) },
        Route {
            kind: RouteKind::Unreachable,
            metric: u32::MAX,
            ..Route::new(10003, prefix("0.0.0.0/0"))
        },
        Route { nhid: Some(8), ..Route::new(254, prefix("10.1.0.0/16")) },
    ];
    for route in routes {
        for message in [add(&route), replace(&route)] {
            assert_eq!(decode(message.payload()), Ok(Some(route.clone())));
        }
        let identity = Route {
            metrics: Default::default(),
            preference: 0,
            kind: if route.nhid.is_some() { RouteKind::Other(0) } else { route.kind },
            ..route
        };
        assert_eq!(decode(delete(&identity).payload()), Ok(Some(identity)));
    }
}

#[test]
fn a_gateway_of_the_other_family_has_18_bytes() {
    // fib_gw_from_via refuses padding inside the attribute.
    let route = Route { hops: vec![via("fe80::2", 4)], ..Route::new(9, prefix("10.0.0.0/8")) };
    let message = add(&route);
    let attr = Attrs::new(&message.payload()[HEADER..])
        .filter_map(Result::ok)
        .find(|(kind, _)| *kind == RTA_VIA);
    assert_eq!(attr.unwrap().1.len(), 18);
}

#[test]
fn an_unreachable_route_has_no_hop_although_ipv6_names_the_loopback() {
    let mut m = Message::new(RTM_NEWROUTE, 0, &header(AF_INET6, 0, 7, 0));
    m.attr_u32(RTA_TABLE, 10003).attr_u32(RTA_PRIORITY, u32::MAX).attr_u32(RTA_OIF, 1);
    let route = decode(m.payload()).unwrap().unwrap();
    assert_eq!((route.kind, route.table), (RouteKind::Unreachable, 10003));
    assert_eq!((route.hops, route.metric), (vec![], u32::MAX));
}

#[test]
fn hop_flags_are_the_low_byte_of_the_flags() {
    let mut m = Message::new(RTM_NEWROUTE, 0, &header(2, 0, 1, 0x4011));
    m.attr_addr(RTA_GATEWAY, "10.0.0.1".parse().unwrap()).attr_u32(RTA_OIF, 3);
    let route = decode(m.payload()).unwrap().unwrap();
    assert_eq!((route.flags, route.hops[0].flags), (0x4000, 0x11));
}

#[test]
fn cached_copies_and_other_families_are_passed_over() {
    let m = Message::new(RTM_NEWROUTE, 0, &header(AF_INET6, 0, 1, RTM_F_CLONED));
    assert_eq!(decode(m.payload()), Ok(None));
    let m = Message::new(RTM_NEWROUTE, 0, &header(28, 20, 1, 0));
    assert_eq!(decode(m.payload()), Ok(None));
}

#[test]
fn lifetimes_are_seconds_and_only_what_is_over_is_over() {
    for (ticks, expected) in
        [(0, None), (1, Some(1)), (150, Some(2)), (-1, Some(0)), (-250, Some(-2))]
    {
        let mut m = Message::new(RTM_NEWROUTE, 0, &header(AF_INET6, 0, 1, 0));
        let mut info = [0; 32];
        info[8..12].copy_from_slice(&i32::to_ne_bytes(ticks));
        m.attr(RTA_CACHEINFO, &info);
        assert_eq!(decode(m.payload()).unwrap().unwrap().expires, expected, "{ticks}");
    }
}

#[test]
fn encapsulation_is_seen_in_single_hops_and_in_several() {
    let mut m = Message::new(RTM_NEWROUTE, 0, &header(2, 0, 1, 0));
    m.attr_u32(RTA_OIF, 3).attr(RTA_ENCAP, &[0; 8]);
    assert!(decode(m.payload()).unwrap().unwrap().hops[0].encap);
    let mut m = Message::new(RTM_NEWROUTE, 0, &header(2, 0, 1, 0));
    m.container(RTA_MULTIPATH, |m| {
        m.rtnexthop(0, 0, 3, |m| {
            m.attr(RTA_ENCAP, &[0; 8]);
        });
        m.rtnexthop(0, 0, 4, |_| {});
    });
    let route = decode(m.payload()).unwrap().unwrap();
    assert_eq!([route.hops[0].encap, route.hops[1].encap], [true, false]);
}

#[test]
fn a_nexthop_object_gives_its_hops_when_the_kernel_does_not() {
    let plain = |id, link| Nexthop {
        id,
        oif: Some(link),
        gateway: Some("10.0.0.1".parse().unwrap()),
        group: Vec::new(),
        blackhole: false,
        flags: 0,
    };
    let all = [
        plain(1, 3),
        plain(2, 4),
        Nexthop { oif: None, gateway: None, group: vec![(1, 1), (2, 10)], ..plain(3, 0) },
        Nexthop { oif: None, gateway: None, group: vec![(1, 1), (9, 1)], ..plain(4, 0) },
        Nexthop { oif: None, gateway: None, blackhole: true, ..plain(5, 0) },
    ];
    let resolved = |id| {
        let mut route = Route { nhid: Some(id), ..Route::new(254, prefix("10.0.0.0/8")) };
        let found = resolve(&mut route, |id| all.iter().find(|n| n.id == id));
        (found, route.kind, route.hops.iter().map(|h| (h.link, h.weight)).collect::<Vec<_>>())
    };
    assert_eq!(resolved(1), (true, RouteKind::Unicast, vec![(3, 0)]));
    assert_eq!(resolved(3), (true, RouteKind::Unicast, vec![(3, 0), (4, 9)]));
    assert_eq!(resolved(4), (false, RouteKind::Unicast, vec![]));
    assert_eq!(resolved(5), (true, RouteKind::Blackhole, vec![]));
    assert_eq!(resolved(6), (false, RouteKind::Unicast, vec![]));
}

#[test]
fn what_cannot_be_decoded_is_named() {
    let mut m = Message::new(RTM_NEWROUTE, 0, &header(2, 24, 1, 0));
    m.attr_u32(RTA_TABLE, 10003)
        .attr_addr(RTA_DST, "10.0.0.0".parse().unwrap())
        .attr(RTA_GATEWAY, &[1, 2, 3]);
    assert_eq!(
        decode(m.payload()).unwrap_err().to_string(),
        "an IPv4 route to 10.0.0.0/24 of table 10003 could not be decoded: RTA_GATEWAY has 3 bytes"
    );
    let mut m = Message::new(RTM_NEWROUTE, 0, &header(2, 0, 1, 0));
    m.attr(RTA_MULTIPATH, &[7, 0, 0, 0, 3, 0, 0, 0]);
    assert!(decode(m.payload()).unwrap_err().to_string().contains("RTA_MULTIPATH says 7 bytes"));
}

#[test]
fn noise_never_panics() {
    let mut noise = Noise::new(7);
    let hops = vec![via("10.0.0.1", 3), via("fe80::1", 4)];
    let goods = [add(&v4()), add(&v6()), add(&Route { hops, ..v4() })];
    for _ in 0..20_000 {
        let _ = decode(&noise.bytes());
        for good in &goods {
            let _ = decode(&noise.damage(good.payload()));
        }
    }
}
