"""The store in MariaDB or MySQL."""
