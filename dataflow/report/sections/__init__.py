"""The sections of the page, one a module: each turns counts into markup."""
