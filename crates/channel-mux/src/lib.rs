//! Named channels over one connection, sans-IO
