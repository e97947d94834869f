"""A campaign against the library: long, seeded attacks on its promises that nothing is lost and nothing gets in."""
