//! Device keys, device ids, contacts and policy
