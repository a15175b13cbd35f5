//! Keys of what a file declares beside its services: networks, volumes, secrets, configs.

use super::Kind::*;
use super::{Key, ignored, key, refused};

pub(super) static NETWORK: &[Key] = &[
    key("name", Text),
    key("driver", Text),
    key("driver_opts", Options),
    key("ipam", Object(IPAM)),
    key("external", External),
    key("internal", Bool),
    key("attachable", Bool),
    key("enable_ipv6", Bool),
    key("labels", Pairs { nulls: false }),
    refused("enable_ipv4", "not honoured; networks have IPv4"),
];

static IPAM: &[Key] = &[
    ignored("driver", Text, "ignored; subnets are given by the cluster"),
    key("config", List(&Object(SUBNET))),
    refused("options", "not honoured; remove it"),
];

static SUBNET: &[Key] = &[
    key("subnet", Text),
    key("gateway", Text),
    key("ip_range", Text),
    refused("aux_addresses", "not honoured; remove it"),
];

pub(super) static VOLUME: &[Key] = &[
    key("name", Text),
    key("driver", Text),
    key("driver_opts", Options),
    key("external", External),
    key("labels", Pairs { nulls: false }),
    ignored("x-cluster-spec", Object(CLUSTER_SPEC), "ignored; cluster volumes are not supported"),
];

static CLUSTER_SPEC: &[Key] = &[
    key("group", Text),
    key("access_mode", Anything),
    key("accessibility_requirements", Object(ACCESSIBILITY)),
    key("capacity_range", Object(CAPACITY)),
    key("secrets", Anything),
    key("availability", Text),
];

static ACCESSIBILITY: &[Key] = &[key("requisite", List(&Object(TOPOLOGY))), key("preferred", List(&Object(TOPOLOGY)))];

static TOPOLOGY: &[Key] = &[key("segments", Pairs { nulls: false })];

static CAPACITY: &[Key] = &[key("required_bytes", Bytes), key("limit_bytes", Bytes)];

pub(super) static SECRET: &[Key] = &[
    key("name", Text),
    key("file", Text),
    key("environment", Text),
    key("external", External),
    key("labels", Pairs { nulls: false }),
    key("driver", Text),
    key("driver_opts", Options),
    key("template_driver", Text),
];

pub(super) static CONFIG: &[Key] = &[
    key("name", Text),
    key("file", Text),
    key("content", Text),
    key("environment", Text),
    key("external", External),
    key("labels", Pairs { nulls: false }),
    key("template_driver", Text),
];
