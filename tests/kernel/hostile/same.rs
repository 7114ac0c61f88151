use crate::harness::cases;
cases! {"hostile_same": }
