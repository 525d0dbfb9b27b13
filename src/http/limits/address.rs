//! Whom an address stands for: one machine of IPv4, one network of IPv6, since a single customer gets a /64 of those.

use std::net::IpAddr;

/// Addresses with the same key are taken for one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressKey(u128);

/// The bits of an IPv6 address that tell clients apart.
const NETWORK: u128 = !(u64::MAX as u128);

impl From<IpAddr> for AddressKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.to_ipv6_mapped().to_bits()),
            IpAddr::V6(address) => Self(address.to_bits() & NETWORK),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_machine_of_ipv4_and_one_network_of_ipv6() {
        let key = |text: &str| AddressKey::from(text.parse::<IpAddr>().unwrap());
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
        assert_eq!(key("10.0.0.1"), key("::ffff:10.0.0.1"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_ne!(key("::1"), key("0.0.0.0"));
    }
}
