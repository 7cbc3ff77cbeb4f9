"""Who watches a run: its report, and MLflow. They see plain results and steer nothing."""
