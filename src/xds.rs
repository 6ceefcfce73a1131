//! SDS (and later ADS): what proxies are told, and what they answer.
